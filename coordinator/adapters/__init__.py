"""Adapters: each fits one part of the outside to a port, and none knows another."""
