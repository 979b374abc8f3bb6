"""Dependency aggregation for event-driven pipelines: fires each run once its inputs are there."""
