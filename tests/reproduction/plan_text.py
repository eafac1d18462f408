"""A small plan as TOML: three models, one of them not to be run, one task, two tables."""

PLAN = """
title = "A plan"
seeds = 2

[tasks.nli]
title = "NLI"
family = "encyclopedia_nli_eval"
metric = "accuracy"

[pretraining_defaults]
model = "tiny"
gin_files = ["configs/runs/quickstart_presence.gin"]
settings = { TRAIN_STEPS = 10, SWITCH_STEP = 5 }

[[pretrainings]]
name = "baseline"
variant = "baseline"
settings = { TEMPERATURE_SCHEDULE = "unweighted" }

[[pretrainings]]
name = "presence"
variant = "presence"

[[pretrainings]]
name = "filtered"
variant = "sequential"
unavailable = "no filter"

[[finetunings]]
name = "en"
setting = "zero_shot"
gin_files = ["configs/runs/finetune_encyclopedia.gin"]
evaluations = [{ mixture = "encyclopedia_nli_zeroshot", tasks = ["nli"] }]

[[tables]]
name = "one"
title = "One"
rows = ["baseline", "presence", "filtered"]
tasks = ["nli"]
settings = ["zero_shot"]

[[tables]]
name = "two"
title = "Two"
rows = ["baseline"]
tasks = ["nli"]
"""
