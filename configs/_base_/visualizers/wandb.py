# Logs to Weights & Biases, with its files in WORK_DIR/TIMESTAMP/vis_data;
# docs/monitoring.md. WANDB_MODE=offline logs without a network. In a config of
# your own:
#     _base_ = ["./rfdetr_nano_custom.py", "../_base_/visualizers/wandb.py"]
#     visualizer = dict(vis_backends=_base_.vis_backends + [_base_.wandb])
wandb = dict(type='WandbVisBackend', init_kwargs=dict(project='rfdetr_mm'))
