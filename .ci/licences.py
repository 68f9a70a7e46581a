"""Whether each dependency that a user of the crate builds has a licence of those that deny.toml allows."""

import json
import re
import subprocess
import sys

allowed = set(re.findall(r'"([^"]+)"', re.search(r"(?s)\nallow = \[(.*?)\]", open("deny.toml").read())[1]))
command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--filter-platform", "x86_64-unknown-linux-gnu"]
graph = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
packages = {package["id"]: package for package in graph["packages"]}
nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}

# From the crate along its normal and build dependencies: tests need more, and are not passed on.
root = next(package["id"] for package in graph["packages"] if package["name"] == "ringloop")
reached, todo = set(), [root]
while todo:
    node = todo.pop()
    if node in reached:
        continue
    reached.add(node)
    for dependency in nodes[node]["deps"]:
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
            todo.append(dependency["pkg"])


def allows(expression):
    """An SPDX expression of OR, AND and brackets: brackets stand only around one OR in what is used here."""
    expression = expression.replace("/", " OR ")
    parts = re.split(r"\s+AND\s+", re.sub(r"[()]", "", expression))
    return all(any(one.strip() in allowed for one in part.split(" OR ")) for part in parts)


refused = []
for node in sorted(reached):
    package = packages[node]
    licence = package.get("license") or "none"
    if not allows(licence):
        refused.append(f"{package['name']} {package['version']}: {licence}")
print(f"{len(reached)} crates, licences of {len(reached) - len(refused)} are allowed")
if refused:
    sys.exit("not allowed:\n" + "\n".join(refused))
