"""The use cases: one module each. Facts go to the core, effects come back as documents."""
