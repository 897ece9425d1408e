"""What the backend is called, and what installs it."""

BACKEND_NAME = 'tflite'
INSTALL = "pip install 'rfdetr_mm[tflite-export]'"
