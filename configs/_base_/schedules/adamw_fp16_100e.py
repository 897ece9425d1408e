# As adamw_100e.py in mixed precision with scaled losses, for older GPUs.
_base_ = ['./adamw_100e.py']
optim_wrapper = dict(
    type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
