"""From a `Radiograph` to a `Finding`, by the model file."""
