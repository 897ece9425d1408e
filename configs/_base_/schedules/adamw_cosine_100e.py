# As adamw_100e.py, with upstream's lr_scheduler='cosine': the rate falls to
# min_factor of itself along half a cosine.
_base_ = ['./adamw_100e.py']
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        convert_to_iter_based=True,
        warmup=0,
        min_factor=0.0)
]
