"""Checks what Kubernetes's schemas cannot: names that the manifests and the program must share.

- Each setting in the ConfigMap and in the containers is a setting of Sixty (.env.example).
- Each file that a NAME_FILE setting names is a key of the example secret that is mounted there.
- Each file that a kustomization lists exists, and each manifest is listed, except for the example of the secrets.
- The pod is killed only after SHUTDOWN_DELAY and SHUTDOWN_GRACE.
"""

import pathlib
import re
import sys

import yaml

FOLDER = pathlib.Path("deploy/kubernetes")
problems = []


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


known = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", pathlib.Path(".env.example").read_text(), re.MULTILINE))
config = documents(FOLDER / "configmap.yaml")[0]["data"]
secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in documents(FOLDER / "secret.example.yaml")}
deployment = documents(FOLDER / "deployment.yaml")[0]
job = documents(FOLDER / "migrate" / "job.yaml")[0]

for name in config.keys() - known:
    problems.append(f"configmap.yaml: {name} is no setting of Sixty")

for path, workload in (("deployment.yaml", deployment), ("migrate/job.yaml", job)):
    pod = workload["spec"]["template"]["spec"]
    mounted = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        files = {
            f"{mount['mountPath']}/{key}"
            for mount in container["volumeMounts"]
            for key in secrets[mounted[mount["name"]]]
        }
        for variable in container["env"]:
            name, value = variable["name"], variable["value"]
            if name not in known:
                problems.append(f"{path}: {name} is no setting of Sixty")
            if name.endswith("_FILE") and value not in files:
                problems.append(f"{path}: {name} names {value}, which is no key of the secret")

for folder in (FOLDER, FOLDER / "migrate"):
    listed = set(documents(folder / "kustomization.yaml")[0]["resources"])
    present = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    for name in listed ^ present:
        problems.append(f"{folder}: {name} is either missing or not listed in kustomization.yaml")

images = [documents(folder / "kustomization.yaml")[0]["images"] for folder in (FOLDER, FOLDER / "migrate")]
if images[0] != images[1]:
    problems.append("the two kustomization.yaml files name different images")

seconds = sum(int(config[name].removesuffix("s")) for name in ("SHUTDOWN_DELAY", "SHUTDOWN_GRACE"))
if deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] <= seconds:
    problems.append("deployment.yaml: terminationGracePeriodSeconds must be longer than SHUTDOWN_DELAY + SHUTDOWN_GRACE")

for problem in problems:
    print(f"check_references: {problem}", file=sys.stderr)
sys.exit(bool(problems))
