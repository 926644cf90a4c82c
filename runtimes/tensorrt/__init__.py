"""TensorRT and TensorRT for RTX: `compile` builds engines, and a GPU runs them."""
