"""The judge of the contract, judged."""
