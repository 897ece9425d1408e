_base_ = './openvino.py'

backend_config = dict(precision='int8', inference_precision=None)
# mmdeploy's tools write the validation images of the model config, or those
# of --calib-dataset-cfg, into this file; 100 of them are used.
calib_config = dict(create_calib=True, calib_file='calib_data.h5')
