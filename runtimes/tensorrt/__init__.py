"""TensorRT and TensorRT for RTX: engines built by `compile`, run on a GPU."""
