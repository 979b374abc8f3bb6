"""The store in Firestore: what ``adapters.sqlite`` is for one machine, for many instances.

``layout`` says which document holds what, ``queries`` how a look at a collection is asked,
``combine`` which transactions share a commit, ``store`` reads, decides, commits and retries.
"""

from coordinator.adapters.firestore.store import FirestoreStore

__all__ = ["FirestoreStore"]
