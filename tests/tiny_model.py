"""A T5 small enough to compile in seconds: for tests of everything but the model."""

SIZES = {
    "emb_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "mlp_dim": 16,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
}
SETTINGS = {f"T5Config.{name}": size for name, size in SIZES.items()}
