# Logs to the MLflow server in the environment variable MLFLOW_TRACKING_URI,
# without it to a SQLite file in the current folder; docs/monitoring.md. In a
# config of your own:
#     _base_ = ["./rfdetr_nano_custom.py", "../_base_/visualizers/mlflow.py"]
#     visualizer = dict(vis_backends=_base_.vis_backends + [_base_.mlflow])
mlflow = dict(
    type='MLflowVisBackend',
    exp_name='rfdetr_mm',
    tracking_uri='{{$MLFLOW_TRACKING_URI:sqlite:///mlflow.db}}',
    # Not all of the config as parameters: MLflow gets it as a file as well.
    tracked_config_keys=('optim_wrapper', 'train_cfg', 'train_dataloader'))
