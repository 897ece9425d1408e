"""What the backend is called."""

BACKEND_NAME = 'executorch'
