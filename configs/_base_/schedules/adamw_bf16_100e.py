# As adamw_100e.py in mixed precision, for GPUs with native bfloat16 (compute
# capability 8 or newer) and CPUs with units for it (AVX-512 BF16, AMX). Other
# CPUs train in float32, with a warning. Weights, losses and optimizer stay in
# float32.
_base_ = ['./adamw_100e.py']
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='bfloat16')
