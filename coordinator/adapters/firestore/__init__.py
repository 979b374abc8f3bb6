"""The store in Firestore: what ``adapters.sqlite`` is for one machine, for many instances.

``layout`` says which document holds what, ``queries`` how a collection is queried,
``store`` makes one attempt at a commit, and finds.
"""

from coordinator.adapters.firestore.store import FirestoreStore

__all__ = ["FirestoreStore"]
