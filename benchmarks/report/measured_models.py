"""Figures of features, rugs, models, their gates and canaries."""

from __future__ import annotations

from report.figure import Anchor, Figure

FEAST = Anchor("Feast 0.67", 15.6, "the same rows and pairs; 2 cores")
PANDAS = Anchor("pandas.merge_asof", 0.17, "the same rows and pairs; 2 cores")
FEAST_ONLINE = Anchor("Feast with SQLite", 82, "100 entities; 2 cores")
MLFLOW = Anchor("MLflow 3.17", 5_700, "log and register, 5.7 to 8.3 s; 2 cores")
# Gradient boosting on the published columns.
EARLY = {1: (0.88, 0.850), 6: (0.92, 0.894), 24: (0.89, 0.862)}
KANG = "LightGBM, 5 folds; 2 cores"

FEATURES = (
    Figure(
        "features.join_x", "as-of join as pandas does it: our time against its time", "x",
        "features", asked=1.5,
    ),
    Figure(
        "features.join_s", "as-of join of 1.44 M rows x 20 for 10,000 pairs", "s", "features",
        anchors=(FEAST, PANDAS), headline=True,
    ),
    Figure(
        "features.join_feast_x", "Feast's time for the same rows, against ours", "x", "features",
        more_is_better=True, optional=True,
    ),
    Figure("features.table_s", "features of 1,000,000 candidates", "s", "features", asked=60),
    Figure(
        "features.table_peak_mib", "peak memory of the features of 1,000,000 candidates", "MiB",
        "features", asked=4_096,
    ),
    Figure(
        "features.online_p50_ms", "features of 100 tokens from the cache, p50", "ms", "online",
        asked=2, anchors=(FEAST_ONLINE,), floor="features.ping_p50_ms",
    ),
    Figure(
        "features.online_p99_ms", "features of 100 tokens from the cache, p99", "ms", "online",
        asked=5, headline=True, floor="features.ping_p99_ms",
        anchors=(Anchor("Feast with Redis", 17, "published, 17 to 125 ms"),),
    ),
    Figure("features.ping_p50_ms", "the cache's round trip alone, p50", "ms", "online"),
    Figure("features.ping_p99_ms", "the cache's round trip alone, p99", "ms", "online"),
    Figure("features.fallback_p50_ms", "the same features from PostgreSQL, p50", "ms", "online"),
    Figure("features.fallback_p99_ms", "the same features from PostgreSQL, p99", "ms", "online"),
    Figure(
        "features.leaks_caught", "planted leaks that are named, the right ones", "%",
        "dataset/leaks", more_is_better=True, asked=99,
    ),
    Figure(
        "features.false_alarms", "clean tables with an alarm", "%", "dataset/leaks", asked=0,
    ),
    Figure(
        "features.scrubber_recall", "pieces of personal data that the scrubber takes out", "%",
        "social/scrubber", more_is_better=True,
    ),
)  # fmt: skip

RUGS = (
    *(
        Figure(
            f"rugs.early_{hours}h_{how}_auc", f"rugs told {hours} h after creation, {words}: AUC",
            "AUC", "rug", more_is_better=True, asked=asked,
            anchors=(Anchor("boosting on the given columns", plain, "later rugs known; 2 cores"),),
        )
        for hours, (asked, plain) in EARLY.items()
        for how, words in (("dropped", "later rugs dropped"), ("daily", "learning daily"))
    ),
    *(
        Figure(
            f"rugs.early_{hours}h_{how}_gain", f"gain over boosting at {hours} h, {words}", "AUC",
            "rug", more_is_better=True,
        )
        for hours in EARLY
        for how, words in (("dropped", "later rugs dropped"), ("daily", "learning daily"))
    ),
    Figure(
        "rugs.kang_f1", "Kang's table, 5 folds: F1 of safe tokens", "F1", "rug",
        more_is_better=True, asked=0.896, anchors=(Anchor("LightGBM", 0.896, KANG),),
    ),
    Figure(
        "rugs.kang_mcc", "Kang's table, 5 folds: Matthews correlation", "MCC", "rug",
        more_is_better=True, asked=0.884, anchors=(Anchor("LightGBM", 0.884, KANG),),
    ),
    Figure("rugs.tm_gain", "gain over boosting on the same folds", "AUC", "rug",
           more_is_better=True),
    Figure(
        "rugs.tm_auc", "TM-RugPull without the later life, 5 folds: AUC", "AUC", "rug",
        more_is_better=True, asked=0.970,
    ),
)  # fmt: skip

TRAINED = (
    Figure(
        "models.register_ms", "log, store and register a model, beyond its training", "ms",
        "models", asked=100, anchors=(MLFLOW,), floor="machine.commit_ms", headline=True,
    ),
    Figure(
        "models.mlflow_x", "MLflow's time for the same model, against ours", "x", "models",
        more_is_better=True, optional=True,
    ),
    Figure("models.load_ms", "load, check the hash, first prediction", "ms", "models", asked=50),
    Figure(
        "models.predict_p99_ms", "prediction of one candidate, p99", "ms", "models", asked=2
    ),
    Figure("models.predict_10k_ms", "prediction of 10,000 candidates", "ms", "models", asked=100),
    Figure("models.explain_ms", "contributions of one candidate", "ms", "models"),
    Figure(
        "gates.noise_passed", "models that pass where nothing can be learned", "%", "gates",
        asked=0.2, headline=True,
    ),
    Figure(
        "gates.signal_passed", "models that pass with a planted signal of AUC .65", "%", "gates",
        more_is_better=True, asked=95,
    ),
    Figure("gates.leak_passed", "models that pass with a planted leak", "%", "gates", asked=0),
    Figure(
        "models.campaign_s", "the demo: eight weeks from first trade to automatic rollback", "s",
        "demo", asked=180, only_full=True,
    ),
)  # fmt: skip

# How others decide, measured by others; here on the same canaries as this product's way.
AVERAGES = Anchor("elsewhere", 33, "about one in three; 2 cores")
SINGLES = Anchor("elsewhere", 40, "28-day canaries, 38 to 43 %; 2 cores")
TRUTHS = {"worse": "2.25 points worse", "equal": "equal", "better": "2.25 points better"}

CANARY = (
    *(
        Figure(
            f"canary.{truth}_promoted_{day}", f"a canary that is {words}: promoted by day {day}",
            "%", "canary", more_is_better=truth != "worse",
            asked={"worse28": 5, "worse56": 5, "better28": 80}.get(f"{truth}{day}"),
            headline=f"{truth}{day}" == "worse56",
        )
        for truth, words in TRUTHS.items() for day in (28, 56)
    ),
    *(
        Figure(
            f"canary.{truth}_rolled_back_{day}",
            f"a canary that is {words}: rolled back by day {day}", "%", "canary",
            more_is_better=truth == "worse", asked=5 if truth == "equal" else None,
            headline=f"{truth}{day}" == "equal56",
        )
        for truth, words in TRUTHS.items() for day in (28, 56)
    ),
    *(
        Figure(
            f"canary.averages_{truth}_promoted",
            f"averages after 48 h promote one that is {words}", "%", "canary",
            more_is_better=truth == "better", headline=truth == "worse",
            anchors=(AVERAGES,) if truth == "worse" else (),
        )
        for truth, words in TRUTHS.items()
    ),
    *(
        Figure(
            f"canary.mann_whitney_{truth}_promoted",
            f"Mann-Whitney after 48 h, 5 trades an arm, promotes one that is {words}", "%",
            "canary", more_is_better=truth == "better", optional=True,
        )
        for truth, words in TRUTHS.items()
    ),
    Figure(
        "canary.singles_equal_harmed", "the same sequence over single candidates, as if they were "
        "independent: rolls back an equal one", "%", "canary", anchors=(SINGLES,), headline=True,
    ),
    Figure("canary.days", "days of paired decisions", "days", "canary", more_is_better=True),
    Figure("canary.spread", "paired spread of a day, per unit stake", "", "canary"),
    Figure("canary.design_effect", "design effect of candidates", "x", "canary"),
    Figure(
        "canary.kills", "SIGKILLs between look, promotion and history that leave a whole state",
        "%", "canary/kills", more_is_better=True, asked=100,
    ),
    *(
        Figure(
            f"canary.sequence_errs.{kind}",
            f"runs in which the sequence leaves the mean at some look, each side, {kind}", "%",
            "canary/sequence", asked=5,
        )
        for kind in ("normal", "heavy tails", "neighbours alike")
    ),
)  # fmt: skip

MODELS = (*FEATURES, *RUGS, *TRAINED, *CANARY)
