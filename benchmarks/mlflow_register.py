"""MLflow's side of `benchmarks/models.py`: log and register one model, in MLflow's environment.

    python mlflow_register.py FOLDER

The folder holds the trees as ``model.json``.  Prints the median seconds of all but the first.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import mlflow
import xgboost


def main() -> None:
    folder = Path(sys.argv[1])
    booster = xgboost.Booster(model_file=folder / "model.json")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment("benchmark", artifact_location=str(folder / "artifacts"))
    taken = []
    for _ in range(4):
        started = time.perf_counter()
        with mlflow.start_run(experiment_id=experiment):
            mlflow.log_metrics({"r2": 0.01, "rank_correlation": 0.15})
            mlflow.xgboost.log_model(booster, name="model", registered_model_name="benchmark")
        taken.append(time.perf_counter() - started)
    print(json.dumps(statistics.median(taken[1:])))


if __name__ == "__main__":
    main()
