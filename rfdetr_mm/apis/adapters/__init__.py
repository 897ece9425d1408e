"""Detections for other projects' tools, where these do not take ours as is.

Each module imports its tool within the function that needs it.
"""
