"""How often each task is drawn, for each stage that trains the backbone."""

SHARES = {
    "flow": {
        "text_to_image": 0.30, "image_to_text": 0.11, "text_to_audio": 0.17, "audio_to_text": 0.12,
        "retrieve_image": 0.06, "retrieve_audio": 0.04, "text_to_video": 0.07,
        "video_to_text": 0.02, "image_to_audio": 0.03, "audio_to_image": 0.03, "now_bigger": 0.025,
        "say_it": 0.025,
    },
    # What stood still in the first round is only rehearsed: pictures are learnt long before speech
    # is.
    "speech": {
        "text_to_image": 0.06, "image_to_text": 0.03, "text_to_audio": 0.31, "audio_to_text": 0.16,
        "retrieve_image": 0.02, "retrieve_audio": 0.10, "text_to_video": 0.06,
        "video_to_text": 0.04, "image_to_audio": 0.07, "audio_to_image": 0.06, "now_bigger": 0.04,
        "say_it": 0.05,
    },
    # From speech to pictures and back no word stands in between: those come last.
    "crossing": {
        "text_to_image": 0.09, "image_to_text": 0.02, "text_to_audio": 0.09, "audio_to_text": 0.07,
        "retrieve_image": 0.01, "retrieve_audio": 0.06, "text_to_video": 0.04,
        "video_to_text": 0.02, "image_to_audio": 0.13, "audio_to_image": 0.34, "now_bigger": 0.10,
        "say_it": 0.03,
    },
    # What crosses two modalities wants samples: most steps are its own, from conditions as no
    # artist and no voice of training made them.
    "directions": {
        "audio_to_image": 0.36, "image_to_audio": 0.14, "now_bigger": 0.09, "now_coloured": 0.08,
        "now_moving": 0.05, "text_to_image": 0.09, "text_to_audio": 0.08, "audio_to_text": 0.04,
        "image_to_text": 0.03, "video_to_text": 0.015, "text_to_video": 0.01,
        "retrieve_image": 0.005, "retrieve_audio": 0.005, "say_it": 0.005,
    },
    # Apart from the demo, which it goes on from: text alone, trained as a flow or autoregressively.
    "text": {"image_to_text": 0.25, "image_to_listing": 0.35, "image_to_page": 0.4},
}  # fmt: skip
