"""The doors: one module for each way in. Facts go to the core, effects come back as documents."""
