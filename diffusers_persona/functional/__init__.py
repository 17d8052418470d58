"""Pure functions on tensors: the equations, testable without a network."""
