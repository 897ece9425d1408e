# Your own data set, in mixed precision: on GPUs with native bfloat16, and on
# CPUs that have units for it. For another size, change the base.
_base_ = './rfdetr_nano_custom.py'

optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
