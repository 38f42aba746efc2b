"""Which modules of skerry each target reads through, the easiest to reach for a stranger first: `make fuzz` goes in this order.

A test holds the table to what runs (test_covers.py), and finds modules that read others' bytes and stand nowhere in it.
"""

from __future__ import annotations

# Words, and not code, say which: atheris instruments these modules alone, before anything is imported.
TABLE = """
# before anybody is known, or from any neighbour, client, container
carrying_message               mesh.carrying
objects_message                mesh.streams
message_of_a_neighbour         core.messages core.gossip
parse_envelope                 trust.envelope
line_of_a_stranger             agent.renting.enrolling
question_to_names              net.zone
piece_of_a_terminal            mesh.terminals
request                        trust.requests trust.envelope
request_signed_by_an_operator  trust.requests trust.envelope
record_from_a_neighbour        trust.accept trust.documents trust.envelope
record_from_a_client           trust.accept trust.documents trust.envelope trust.client_checks
fact_of_a_captured_host        trust.accept trust.documents trust.checks_fact
document_signed_by_an_operator trust.accept trust.documents trust.checks trust.checks_app trust.checks_pool trust.checks_alert
what_is_handed_over            trust.requests
message_in_frames              mesh.messages
request_for_a_lease            agent.leases.doors
arguments_of_a_request         agent.serve agent.looking.answering agent.debugging.sessions
certificate                    trust.checks trust.identity mesh.tls
request_to_the_api             api.server
token_of_the_api               api.tokens
headers_to_the_pages           ui.guard ui.access
request_to_the_pages           ui.looks ui.figures ui.images
greeting_of_a_page             ui.live
words_of_a_page                ui.live ui.terminal ui.streams
command_in_a_page              ui.terminal
sealed_value                   trust.seal
packet_to_the_guard            guarding.words guarding.table
answer_of_the_guard            agent.guarding.asking
heads_of_a_new_host            agent.streams
catch_up                       agent.newcomer
draft                          trust.drafts
# images, and what is in them
oci_manifest                   image.oci
oci_config                     image.oci
tree_manifest                  image.manifest
pack_of_files                  image.packs
documents_of_an_image          image.packs
bundle_of_a_peer               image.bundle
body_of_a_bundle               image.bundle
layer_of_an_image              image.archive image.layers image.tars
image_archive                  image.archive image.layers image.tars
file_of_an_image               image.lint.programs image.lint.secrets
program_of_an_image            image.building.elf
package_databases_of_an_image  image.packages
debian_package                 image.building.sources.unpack image.tars
wheel                          image.building.sources.wheels image.zips
metadata_of_a_wheel            image.building.sources.markers
source_archive                 image.building.sources.sdists image.tars
zipped_source_archive          image.building.sources.sdists image.zips
build_of_a_source_archive      image.building.sources.sdists
package_of_npm                 image.building.sources.modules image.tars
manifest_of_a_module           image.building.recipes.node
bundle_of_the_agent            agent.upgrade client.bundle
licence_of_a_package           image.licences
known_vulnerabilities          image.audit.database image.audit.osv image.audit.tracker image.audit.known
# what containers and their kernel say
answer_to_a_probe              observe.asks
figures_of_an_application      observe.promtext
lines_of_a_log                 observe.logs
segment_of_logs                observe.logstore
diary                          observe.events observe.chain
core_of_a_process              runtime.cores.shelf
packets_of_a_capture           client.packets
frame_of_a_packet              client.packets
process_stat                   observe.look.procfs
process_status                 observe.look.procfs
passwd                         observe.look.procfs
tables_of_sockets              observe.look.sockets net.taken
mounts                         observe.look.changes runtime.cgroups observe.host
note_of_volumes                observe.look.beginning
plan_of_files                  observe.look.placing
line_of_strace                 client.shortcuts.trace client.trial.trace
word_of_a_monitor              runtime.conmon
copy_from_a_host               client.copying
piece_of_a_look                client.looking
hand_over_of_a_host            client.adopt
records_of_perf                observe.look.perfdata
flow_of_the_kernel             net.flows net.netlink
answer_of_a_host               client.session
# providers and their tools
answer_of_digitalocean         machines.digitalocean machines.digitalocean_api
domain_of_libvirt              machines.domains
survey_of_a_machine            machines.survey
keys_of_hosts                  machines.hostkeys
sizes_of_machines              machines.tables
# people and their projects
address                        mesh.dial
lock_of_uv                     image.building.sources.needs.uv image.building.sources.needs.pins
lock_of_poetry                 image.building.sources.needs.poetry image.building.sources.needs.pins
lock_of_pip                    image.building.sources.needs.pylock
requirements_text              image.building.sources.needs.text
pyproject                      image.building.sources.needs.project
lock_of_ours                   image.building.sources.lock
lock_of_npm                    image.building.sources.modules
index_of_debian                image.building.sources.debian
relations_of_debian            image.building.sources.resolve
folder_without_a_recipe        image.building.suggest
recipe_of_a_project            image.building.recipe
recovery_file                  trust.recovery
public_half_of_a_key           client.identity
keys_of_an_operator            client.identity
exported_cloud                 client.recovery
tokens_of_the_api              api.tokens
environment_file               client.compose.interpolate
healthcheck                    client.compose.healthcheck
wish_of_a_trial                client.trial.wish
folder_of_a_trial              client.trial.wish
# YAML
compose_file                   client.compose.load client.compose.document client.compose.section client.compose.values
folder_of_a_cloud              client.folder.read
"""

COVERS: dict[str, tuple[str, ...]] = {
    name: tuple(modules)
    for name, *modules in (line.split() for line in TABLE.strip().splitlines() if not line.startswith("#"))
}
YAML = ("compose_file", "folder_of_a_cloud")
GOALS = {name: 1_000_000 if name in YAML else 10_000_000 for name in COVERS}  # executions

# Modules that read, and need no target: what they read is this machine's own.
_DISK = "what it wrote itself, to a folder that only it may write to"
_CHILD = "what a child of ours says, or what we say to one"
_TOOL = "what a program of this machine's own says of this machine"
OWN = {
    "agent.alerts.delivering": _CHILD,
    "agent.alerts.letters": _CHILD,
    "agent.auditing": _DISK,
    "agent.drafts": _DISK + "; a draft itself: target draft",
    "agent.files": _DISK,
    "agent.logs.shipper": _CHILD,
    "agent.logs.shipping": _CHILD,
    "agent.looking.child": _CHILD,
    "agent.looking.crashes": _CHILD,
    "agent.main": "what root gives the agent as it begins",
    "agent.renting.asking": _CHILD,
    "agent.renting.enrol": "what the host says whose certificate was named",
    "agent.upkeep": _DISK,
    "agent.waking.activator": _CHILD,
    "agent.waking.leading": _CHILD,
    "api.operations": _DISK,
    "cli.image.options": _DISK,
    "cli.loglines": "lines as the agent gives them to us, of which each may be anything and is then left as it is",
    "client.alerts": "what an operator's own key has sealed",
    "client.audit": _DISK,
    "client.bundling": "writes",
    "client.folder.compose_out": "writes",
    "client.home": _DISK,
    "client.images": _DISK,
    "client.library.pull": _TOOL,
    "client.meet": "shapes as of answer_of_a_host, and records as of record_from_a_client",
    "client.offers": "what an operator's own key has sealed",
    "client.trial.container": _TOOL,
    "client.trial.contract": _TOOL,
    "image.building.stage.sdists": "what a build in its sandbox wrote: one list of names",
    "image.export": "a manifest that oci_manifest takes",
    "image.kept": _DISK + ", with its hash",
    "image.origin": _DISK,
    "machines.install": "one object of an agent that we have just put there",
    "machines.userdata": "runs elsewhere",
    "net.addresses": _DISK,
    "net.network": _DISK,
    "net.nft": _TOOL,
    "net.tunnel": _TOOL,
    "observe.look.capture": "the kernel's own words before each packet",
    "observe.look.child": _CHILD,
    "observe.look.samples": "the kernel's own words before each record",
    "observe.ringfile": _DISK,
    "observe.rings": _DISK,
    "runtime.bundle": _DISK,
    "runtime.cores.asking": _DISK,
    "runtime.cores.pattern": _DISK,
    "runtime.logcounts": _DISK,
    "runtime.logfiles": _DISK,
    "runtime.record": _DISK,
    "runtime.seccomp": "shipped with it",
    "runtime.syscalls": "the kernel's own words",
    "runtime.tools": _TOOL,
    "ui.server": "one text of at most a kilobyte, from this machine",
}
