"""Every recorded array, and the test that holds it: none is left out in silence."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.published.goldens import arrays

RECORDED = "test_recorded_logits.py::"
OMNI = "test_omnidiffusion.py::"
SPEECH = "test_speech.py::"
DRAWN = "test_omnidiffusion_pictures.py::"
# family → a pattern of array names → the test that compares them, or is given them
HELD: dict[str, dict[str, str]] = {
    "llada": {
        r"(fwd|pad)\.(hidden|logits|tokens|attention_mask)":
            "test_networks.py::test_hidden_states_and_logits",
        r"fwd\.block_out": "test_networks.py::test_the_input_of_every_block",
        r"pad\.logits_nomask": "test_networks.py::test_every_bound_of_the_page_holds",
        r"table\..*": "test_tables.py::test_lladas_even_shares",
        r"gumbel\..*": "test_tables.py::test_lladas_noise_has_the_same_order",
        r"traj_.*\.(x|uniform|rand|attention_mask)":
            "test_runs.py::test_a_recorded_run_repeats_state_for_state",
        r"traj_.*\.(x0|confidence|num_transfer)": RECORDED + "test_text_is_committed_as_recorded",
        r"traj_.*\.logits": "test_networks.py::test_every_bound_of_the_page_holds",
        r"traj_.*\.un_x":
            "test_prompts.py::test_every_prompt_without_a_condition_is_as_recorded",
    },
    "mmada": {
        r"prompt\.t2i\..*": "test_prompts.py::test_mmadas_image_prompts_with_their_left_padding",
        r"prompt\.(mmu|mmu_gen|r2i|lm|lm_chat)\..*":
            "test_prompts.py::test_mmadas_training_sequences",
        r"fwd\..*":
            "test_networks.py::test_rows_of_padding_aside_a_padded_prompt_is_as_recorded",
        r"fwd_mmu\..*": "test_networks.py::test_hidden_states_and_logits",
        r"(lm|mmu)\.ids": "test_prompts.py::test_mmadas_chat_has_one_newline_behind_a_header",
        r"t2i(_part)?\.(ids|attention_mask|x|exponential|uniform|codes)":
            "test_runs.py::test_a_recorded_run_repeats_state_for_state",
        r"t2i\.uncond_(ids|attention_mask)":
            "test_prompts.py::test_mmadas_unconditional_prompt_is_an_empty_text",
        r"(t2i|traj_.*)\.un_x":
            "test_prompts.py::test_every_prompt_without_a_condition_is_as_recorded",
        r"t2i(_part)?\.probs": "test_networks.py::test_every_bound_of_the_page_holds",
        r"t2i(_part)?\.(sampled|selected_probs|temperature|mask_len|masking)":
            RECORDED + "test_mmada_images_are_committed_as_recorded",
        r"t2i(_part)?\.uint8": "test_pictures.py::test_a_drawn_picture_has_the_recorded_bytes",
        r"schedule\.(cosine|linear|pow2|sigmoid)": "test_tables.py::test_mmadas_schedules",
        r"schedule\.mask_len.*": "test_tables.py::test_the_cosine_in_float32",
        r"fast_eot\..*": "test_runs.py::test_a_recorded_run_repeats_state_for_state",
        r"traj_.*\.(x|uniform|rand|attention_mask)":
            "test_runs.py::test_a_recorded_run_repeats_state_for_state",
        r"traj_.*\.(x0|confidence|num_transfer)": RECORDED + "test_text_is_committed_as_recorded",
        r"traj_.*\.logits": "test_networks.py::test_every_bound_of_the_page_holds",
    },
    "lumina_dimoo": {
        r"t2i\.(prompt|uncond_prompt|code_start)":
            "test_prompts.py::test_luminas_picture_of_any_size_has_a_newline_behind_every_row",
        r"fwd\..*": "test_networks.py::test_hidden_states_and_logits",
        r"(t2i.*|i2i|paint_run)\.(x|uniform_sample|uniform_mask|result)":
            "test_runs.py::test_luminas_pictures_repeat_state_for_state",
        r"(t2i.*|i2i|paint_run)\.(sampled|conf|keep_n|stay_masked)":
            RECORDED + "test_lumina_images_are_committed_as_recorded",
        r"(t2i(_no.*)?|i2i|paint_run)\.logits":
            "test_networks.py::test_every_bound_of_the_page_holds",
        r"t2i_cache\.logits": RECORDED + "test_lumina_images_are_committed_as_recorded",
        r"t2i_cache\.(refresh|to_compute|cond_logits|uncond_logits)":
            "test_runs.py::test_luminas_cache_computes_the_recorded_positions",
        r"(t2i.*|i2i|paint_run)\.uncond_(text_|image_)?x":
            "test_prompts.py::test_luminas_prompts_without_a_condition_are_as_recorded",
        r"i2i\.(prompt|image_tokens|uncond_text|uncond_image|code_start)":
            "test_prompts.py::test_luminas_editing_has_two_prompts_without_a_condition",
        r"(t2i|i2i)\.uint8": "test_pictures.py::test_a_drawn_picture_has_the_recorded_bytes",
        r"(i2i|mmu)\.image": "test_pictures.py::test_luminas_pictures_are_the_recorded_codes",
        r"i2i_prompt\..*": "test_prompts.py::test_luminas_words_for_what_a_picture_is_for",
        r"paint\..*\.vis": "test_painting.py::test_the_part_that_is_drawn_again_is_as_recorded",
        r"paint\.(image|.*\.tokens)":
            "test_pictures.py::test_what_a_painted_picture_keeps_are_the_recorded_codes",
        r"schedule\..*": "test_tables.py::test_the_cosine_in_float32",
        r"mmu(_single\.(prompt|code_start)|\.image_tokens_single)":
            "test_prompts.py::test_luminas_question_about_a_picture",
        r"mmu\.(image_tokens|prompt|code_start)":
            "test_prompts.py::test_luminas_double_newlines_are_not_ours",
        r"traj_.*\.(x|uniform)": "test_runs.py::test_a_recorded_run_repeats_state_for_state",
        r"traj_.*\.(x0|confidence|num_transfer)": RECORDED + "test_text_is_committed_as_recorded",
        r"traj_.*\.logits": "test_networks.py::test_every_bound_of_the_page_holds",
        r"traj_.*\.un_x":
            "test_prompts.py::test_every_prompt_without_a_condition_is_as_recorded",
    },
    "dream": {
        r"bb\..*": "test_networks.py::test_hidden_states_and_logits",
        r"smp\.counts_.*": "test_tables.py::test_dreams_counts",
        r"smp\.(topk50|topp90)": RECORDED + "test_dream_truncates_as_recorded",
        r"smp\.(logits|.*\.(x0|confidence))": RECORDED + "test_dream_scores_and_draws",
        r"smp\.timesteps_.*": "test_origin.py::test_dreams_grid_of_times",
        r"traj\.origin(_t)?\.(states|uniform|p_transfer|x0|prompt_ids)":
            "test_origin.py::test_an_origin_run_repeats_state_for_state",
        r"traj\..*\.(n_transfer|step|block|final_ids)|traj\.origin(_t)?\.confidence":
            "test_origin.py::test_what_a_run_of_dream_notes_down",
        r"traj\.(?!origin).*\.(states|prompt_ids)":
            "test_runs.py::test_a_recorded_run_repeats_state_for_state",
        r"traj\.(?!origin).*\.(x0|confidence)":
            RECORDED + "test_dream_commits_as_recorded",
        r"traj\..*\.(logits|logits_steps)": "test_networks.py::test_every_bound_of_the_page_holds",
    },
    "omnidiffusion": {
        r"(traj\..*\.states|sv\.[AB]\.rows)": OMNI + "test_a_recorded_run_repeats_state_for_state",
        r"traj\..*\.(prompt_ids|audio_positions)": OMNI + "test_every_prompt_has_the_recorded_ids",
        r"traj\.t2i_cfg\.uncond_random_ids":
            OMNI + "test_guidance_compares_with_the_recorded_prompts",
        r"traj\..*\.(n_transfer|x0|confidence|final_ids|step|block)":
            OMNI + "test_what_a_run_notes_down",
        r"traj\..*\.(logits|logits_steps)":
            OMNI + "test_every_bound_of_the_page_holds_for_omnidiffusion",
        r"smp\.(past_x|penalty_.*)": OMNI + "test_repeats_are_weakened_as_recorded",
        r"smp\.long.*": OMNI + "test_rows_behind_the_hundredth_are_weakened_as_recorded",
        r"bb\.pad\..*":
            OMNI + "test_padding_of_a_batch_is_attended_as_theirs_does_and_not_as_ours",
        r"bb\.packed\..*": OMNI + "test_packed_samples_of_training_see_their_own_segment",
        r"st\.S\d\.(features|feature_mask)": SPEECH + "test_the_log_mel_of_a_sound",
        r"st\.S\d\.(codes|prequant|resampled)": SPEECH + "test_the_codes_of_a_sound",
        r"st\.batch.*": SPEECH + "test_sounds_of_a_batch_have_their_own_codes",
        r"sv\..\.(fbank|fbank_nodither|dither_noise|resampled)":
            SPEECH + "test_the_filter_bank_of_a_sound",
        r"sv\.(.\.encoder|C\.rows|batch_AC\..*)": SPEECH + "test_what_is_heard",
        r"dec\..\.(codes|encoder|mu|spk|z|ode_t|ode_x|v_cond_first|v_uncond_first|mel)":
            SPEECH + "test_a_spectrogram_follows_the_recorded_states",
        r"dec\..\.(f0|phase|sine_noise|sine_waves|speech)":
            SPEECH + "test_a_spectrogram_becomes_the_recorded_samples",
        r"traj\..*\.raw_cond_uncond_logits_first":
            OMNI + "test_both_branches_of_guidance_have_the_recorded_logits",
        r"traj\..*\.image_bgr_uint8": DRAWN + "test_an_answer_becomes_the_recorded_picture",
        r"mv\.I[12]\.(small\.)?(uint8|pixels)": DRAWN + "test_a_picture_comes_in_at_either_size",
        r"mv\.I[12]\.(small\.)?(codes|latents)": DRAWN + "test_a_picture_has_the_recorded_codes",
        r"mv\.(dec|dec_rect)\..*": DRAWN + "test_codes_become_the_recorded_pixels",
        r"mv\.lfq\..*": DRAWN + "test_a_latent_of_zero_is_no_bit",
    },
    "magvitv2": {
        r"enc\.(image.*|pixels)": "test_pictures.py::test_mmada_crops_as_recorded",
        r"dec\.uint8": "test_pictures.py::test_bytes_are_cut_by_mmada_and_rounded_by_lumina",
        r"(enc\.(latents|quantized|codes)|dec\.pixels|dec2\..*)":
            "test_networks.py::test_magvit_encodes_and_decodes",
    },
    "vq_amused": {
        r"enc\.(image|pixels)": "test_pictures.py::test_the_vq_takes_whole_patches_only",
        r"dec\.uint8": "test_pictures.py::test_bytes_are_cut_by_mmada_and_rounded_by_lumina",
        r"crop\.list.*": "test_pictures.py::test_the_shapes_of_lumina_are_as_recorded",
        r"crop[01]\..*": "test_pictures.py::test_lumina_crops_as_recorded",
        r"(enc\.(latents|quantized|codes)|dec\.pixels|dec2\..*)":
            "test_networks.py::test_amused_encodes_and_decodes",
    },
}  # fmt: skip


@pytest.mark.parametrize("family", list(HELD))
def test_every_array_is_held_by_one_test(family: str) -> None:
    """By exactly one pattern, and no pattern is idle."""
    used = set()
    shared = arrays("dream") if family == "omnidiffusion" else {}
    for name in arrays(family).keys() - shared.keys():
        found = [pattern for pattern in HELD[family] if re.fullmatch(pattern, name)]
        assert len(found) == 1, f"{name}: {found}"
        used.add(found[0])
    assert used == HELD[family].keys()


@pytest.mark.parametrize("test", sorted({test for held in HELD.values() for test in held.values()}))
def test_the_tests_are_there(test: str) -> None:
    name, _, function = test.partition("::")
    tree = ast.parse(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
