"""The model's configuration: every size and constant of a model.

`sections` has a dataclass for each part of a model, `ranges` the bounds of their numbers, `model`
the whole with its checks, and `named` the configs of published shapes.
"""

from nextomni_edge.config.codec import SemanticConfig, SpeechCodecConfig
from nextomni_edge.config.model import MAX_CONFIG, MODALITIES_OF, ModelConfig
from nextomni_edge.config.named import NAMED, named_config
from nextomni_edge.config.ranges import MOST
from nextomni_edge.config.sections import (
    AudioConfig,
    BackboneConfig,
    CodebookConfig,
    CodedConfig,
    Fitting,
    FlowConfig,
    HeadConfig,
    ImageConfig,
    PathConfig,
    TextConfig,
    TransformerConfig,
    VqConfig,
)
from nextomni_edge.config.speech import (
    ListenerConfig,
    SpeechConfig,
    SpeechFlowConfig,
    SpeechTokenizerConfig,
    VocoderConfig,
)

__all__ = [
    "MAX_CONFIG",
    "MODALITIES_OF",
    "MOST",
    "NAMED",
    "AudioConfig",
    "BackboneConfig",
    "CodebookConfig",
    "CodedConfig",
    "Fitting",
    "FlowConfig",
    "HeadConfig",
    "ImageConfig",
    "ListenerConfig",
    "ModelConfig",
    "PathConfig",
    "SemanticConfig",
    "SpeechCodecConfig",
    "SpeechConfig",
    "SpeechFlowConfig",
    "SpeechTokenizerConfig",
    "TextConfig",
    "TransformerConfig",
    "VocoderConfig",
    "VqConfig",
    "named_config",
]
