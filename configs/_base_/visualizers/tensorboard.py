# Logs to TensorBoard, into WORK_DIR/TIMESTAMP/vis_data; docs/monitoring.md. In
# a config of your own:
#     _base_ = ["./rfdetr_nano_custom.py", "../_base_/visualizers/tensorboard.py"]
#     visualizer = dict(vis_backends=_base_.vis_backends + [_base_.tensorboard])
tensorboard = dict(type='TensorboardVisBackend')
