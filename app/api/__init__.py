"""HTTP at the edge: what comes in as a request becomes a film, and a finding goes out as an answer."""
