"""This service, its peers and a loop without any service under the same load, in one run."""
