"""Vocabularies that are none, or would give text pieces as sentinels."""

import numpy as np
from hostile.data_inputs import preparing, training
from hostile.harness import Corpus
from sentencepiece import sentencepiece_model_pb2

CASES = Corpus()


def with_bytes(place, content):
    """The arguments of a preparation with a model file of some bytes."""
    file = place.folder / "hostile.model"
    file.write_bytes(content)
    arguments = preparing(place, place.valid.texts)
    return [f"--vocabulary={file}" if a == "--vocabulary=bytes" else a for a in arguments]


def with_model(place, change):
    """The arguments of a preparation with a model that went through `change(model)`."""
    model = sentencepiece_model_pb2.ModelProto.FromString(place.valid.vocabulary.read_bytes())
    change(model)
    return with_bytes(place, model.SerializeToString())


@CASES.add("prepare", "hostile.model", "no SentencePiece model", "copy")
def text_for_a_model(place):
    return with_bytes(place, b"the\nof\nand\n" * 50)


@CASES.add("prepare", "hostile.model", "no SentencePiece model", "copy")
def random_bytes(place):
    return with_bytes(place, np.random.default_rng(1).bytes(10_000))


@CASES.add("prepare", "hostile.model", "no SentencePiece model", "copy")
def empty_model(place):
    return with_bytes(place, b"")


@CASES.add("prepare", "hostile.model", "damaged|pad_id", "copy|train")
def truncated_model(place):
    content = place.valid.vocabulary.read_bytes()
    return with_bytes(place, content[: len(content) // 2])


@CASES.add("prepare", "hostile.model", "damaged|twice|no SentencePiece", "copy|train")
def piece_that_is_there_twice(place):
    def change(model):
        model.pieces[300].piece = model.pieces[301].piece

    return with_model(place, change)


@CASES.add("prepare", "hostile.model", "damaged|no SentencePiece", "copy|train")
def garbled_normalizer(place):
    def change(model):
        model.normalizer_spec.precompiled_charsmap = b"\xff" * 999

    return with_model(place, change)


@CASES.add("prepare", "hostile.model", "damaged|no SentencePiece", "copy|train")
def model_without_an_unknown_piece(place):
    def change(model):
        for piece in model.pieces:
            if piece.type == piece.UNKNOWN:
                piece.type = piece.NORMAL

    return with_model(place, change)


@CASES.add("prepare", "hostile.model", "pad_id=-1", "train it")
def no_padding(place):
    def change(model):
        model.trainer_spec.pad_id = -1

    return with_model(place, change)


@CASES.add("prepare", "hostile.model", "sentinels", "not at the top")
def sentinel_in_the_middle(place):
    def change(model):
        model.pieces[300].piece = "<extra_id_0>"

    return with_model(place, change)


@CASES.add("prepare", "input", "no SentencePiece model", "bytes")
def folder_without_a_model(place):
    arguments = preparing(place, place.valid.texts)
    return [f"--vocabulary={place.folder}" if a == "--vocabulary=bytes" else a for a in arguments]


@CASES.add("prepare", "nowhere.model", "cannot be read")
def absent(place):
    arguments = preparing(place, place.valid.texts)
    return [*arguments, "--vocabulary=nowhere.model"]


@CASES.add("train", "1 sentinel|sentinels", "vocabulary|mean_noise_span_length")
def too_few_sentinels(place):
    model = sentencepiece_model_pb2.ModelProto.FromString(place.valid.vocabulary.read_bytes())
    for number, piece in enumerate(model.pieces):
        if piece.piece.startswith("<extra_id_") and piece.piece != "<extra_id_0>":
            piece.piece = f"no_sentinel_{number}"
    file = place.folder / "one.model"
    file.write_bytes(model.SerializeToString())
    return training(place, LOCAL_TEXT_FILES=str(place.valid.texts), VOCABULARY_FILE=str(file))


@CASES.add("train", "vocab_size=128", "smaller than the vocabulary", "359")
def table_too_small(place):
    (place.folder / "a.txt").write_text("some text\n" * 9)
    return [*training(place), "--gin.T5Config.vocab_size=128"]
