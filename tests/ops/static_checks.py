#!/usr/bin/env python3
"""What must be true of the files in ops/ as they stand, and that each rule notices when it is not."""

import re

import yaml

from checks import Skip, check, finish
from embed import embed
from template import OPS, PSEUDO, ROOT, Template, load, policy, variant

STACK = load()
MACHINES = STACK["Parameters"]["Machine"]["AllowedValues"]
DRAINS = STACK["Parameters"]["DrainSeconds"]["AllowedValues"]
USER_DATA = (OPS / "user-data.sh").read_text()
SPOT_NOTICE = 120      # seconds; EC2's Spot instance interruption notices
POLL = 5               # seconds between two looks of the watcher
USER_DATA_LIMIT = 16384  # bytes; EC2, "instance user data is limited to 16 KB"
TEMPLATE_LIMIT = 51200   # bytes that CloudFormation takes without a bucket


def one(document, name, **parameters):
    return Template(document, **parameters).properties(name)


# ---------------------------------------------------------------- rules of the stack

def names_that_others_refer_to_are_there(document):
    for name in ("Bucket", "Queue", "DeadLetters", "WorkerRole", "SubmitterPolicy", "LaunchTemplate", "Group", "WakeUp", "GoToSleep"):
        assert name in document["Resources"], name
    assert isinstance(document["Parameters"]["BacklogPerInstance"]["Default"], int)


def the_bucket_is_private_encrypted_and_cleans_up(document):
    bucket = one(document, "Bucket")
    assert document["Resources"]["Bucket"]["DeletionPolicy"] == "Retain", "deleting the stack would delete the data"
    assert all(bucket["PublicAccessBlockConfiguration"][key] is True for key in
               ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"))
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    default = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
    assert default == {"SSEAlgorithm": "AES256"}, default
    with_key = one(document, "Bucket", KmsKeyArn="arn:k")["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert with_key["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:k"}
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert any(rule["Status"] == "Enabled" and rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1 for rule in rules)


def bucket_and_queues_refuse_plain_http(document):
    for name, action in (("BucketPolicy", "s3:*"), ("QueuePolicy", "sqs:*")):
        statement, = one(document, name)["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", action), name
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, name


def the_dead_letters_outlive_the_queue(document):
    queue, dead = one(document, "Queue"), one(document, "DeadLetters")
    assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"], "a message's age counts from its first send"
    assert dead["QueueName"] == f"{queue['QueueName']}-dlq"
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "<DeadLetters.Arn>"
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 2
    for each in (queue, dead):
        assert each["SqsManagedSseEnabled"] is True
    assert "SqsManagedSseEnabled" not in one(document, "Queue", KmsKeyArn="arn:k"), "one kind of encryption at a time"


def machines_take_only_signed_metadata_requests_and_encrypt_their_disk(document):
    for machine in MACHINES:
        data = one(document, "LaunchTemplate", Machine=machine)["LaunchTemplateData"]
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert all(disk["Ebs"]["Encrypted"] is True for disk in data["BlockDeviceMappings"])
        assert data["ImageId"].endswith(("-x86_64}}", "-arm64}}")), data["ImageId"]
        assert ("arm64" in data["ImageId"]) == machine.startswith("arm64")
    assert one(document, "LaunchTemplate", ImageId="ami-12345678")["LaunchTemplateData"]["ImageId"] == "ami-12345678"


def nothing_comes_in_but_scrapes_from_the_given_range(document):
    assert "SecurityGroupIngress" not in one(document, "SecurityGroup")
    rule, = one(document, "SecurityGroup", MetricsCidr="10.0.0.0/16")["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"], rule["CidrIp"]) == (9464, 9464, "10.0.0.0/16")
    assert [(rule["FromPort"], rule["ToPort"]) for rule in one(document, "SecurityGroup")["SecurityGroupEgress"]] == [(443, 443)]


def the_group_starts_empty_and_an_update_leaves_its_size_alone(document):
    group = one(document, "Group")
    assert group["MinSize"] == "0"
    assert "DesiredCapacity" not in group, "a stack update would set it and end machines at work"


def spot_has_four_pools_and_an_on_demand_base(document):
    for machine in MACHINES:
        mixed = one(document, "Group", Machine=machine, OnDemandBase=2)["MixedInstancesPolicy"]
        spread = mixed["InstancesDistribution"]
        assert spread["SpotAllocationStrategy"] == "price-capacity-optimized"
        assert (spread["OnDemandBaseCapacity"], spread["OnDemandPercentageAboveBaseCapacity"]) == (2, 0)
        types = {override["InstanceType"] for override in mixed["LaunchTemplate"]["Overrides"]}
        assert len(types) >= 4, types
        families = {name.split(".")[0] for name in types}
        assert all(("g" in family[2:]) == machine.startswith("arm64") for family in families), families
        assert all(("d" in family[1:]) == machine.endswith("-disk") for family in families), families


def the_drain_chain_holds(document):
    """program < unit < hook, and where Spot gives 120 s: notice seen + unit's time-out < 120."""
    assert re.search(r"^TimeoutStopSec=\$\(\(BATCHPIPE_DRAIN_SECONDS \+ 10\)\)$", USER_DATA, re.M)
    assert re.search(r"^KillMode=mixed$", USER_DATA, re.M)
    assert 'echo "BATCHPIPE_DRAIN_TIMEOUT=${BATCHPIPE_DRAIN_SECONDS}s"' in USER_DATA
    assert f"sleep {POLL} #" in USER_DATA
    for drain in DRAINS:
        hook, = one(document, "Group", DrainSeconds=drain)["LifecycleHookSpecificationList"]
        unit = int(drain) + 10
        assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
        assert unit + POLL + 30 <= hook["HeartbeatTimeout"] <= 7200, f"{drain} s of drain, hook of {hook['HeartbeatTimeout']} s"
        settings = settings_of(document, DrainSeconds=drain)
        assert settings["BATCHPIPE_DRAIN_SECONDS"] == drain
    default = document["Parameters"]["DrainSeconds"]["Default"]
    assert int(default) + 10 + POLL < SPOT_NOTICE


def the_hook_is_the_one_that_the_watcher_completes(document):
    hook, = one(document, "Group")["LifecycleHookSpecificationList"]
    assert f': "${{BATCHPIPE_HOOK:={hook["LifecycleHookName"]}}}"' in USER_DATA


def settings_of(document, **parameters):
    """The assignments in front of the script."""
    text = one(document, "LaunchTemplate", **parameters)["LaunchTemplateData"]["UserData"]
    assert text.endswith(USER_DATA), "the user data does not end with ops/user-data.sh, word for word"
    head = text.removesuffix(USER_DATA)
    assert head.startswith("#!/bin/bash\n")
    lines = head.splitlines()[1:]
    pairs = [re.fullmatch(r"(BATCHPIPE_[A-Z0-9_]+)='([^']*)'", line) for line in lines]
    assert all(pairs), f"not an assignment: {lines}"
    return {pair[1]: pair[2] for pair in pairs}


def the_script_is_the_file_and_gets_every_setting_it_needs(document):
    join = document["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"]
    assert join[1][-1] == USER_DATA, "the last part of the join is not ops/user-data.sh"
    settings = settings_of(document)
    needed = set(re.findall(r"\$\{(BATCHPIPE_\w+):\?\}", USER_DATA))
    known = needed | set(re.findall(r"\$\{(BATCHPIPE_\w+):=", USER_DATA))
    assert needed <= set(settings), needed - set(settings)
    assert set(settings) <= known, f"the script does not know {set(settings) - known}"
    whole = one(document, "LaunchTemplate")["LaunchTemplateData"]["UserData"]
    assert len(whole.encode()) <= USER_DATA_LIMIT
    return f"{len(whole.encode())} of {USER_DATA_LIMIT} bytes"


def filled(node, **more):
    """A policy file with its ${…} filled in as the template would."""
    values = {**PSEUDO, **Template(STACK).parameters, **more}
    if isinstance(node, dict):
        return {key: filled(value, **more) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, **more) for value in node]
    return re.sub(r"\$\{([^}]+)\}", lambda match: str(values[match[1]]), node)


def policies_are_the_files(document):
    plain = filled(policy("role.json")["Statement"])
    assert one(document, "WorkerRole")["Policies"][0]["PolicyDocument"]["Statement"] == plain, "worker"
    for name, file in (("SubmitterPolicy", "submit-role.json"), ("OperatorPolicy", "operate-role.json")):
        plain = filled(policy(file)["Statement"])
        assert one(document, name)["PolicyDocument"]["Statement"] == plain, name
    key = filled(policy("kms.json"), KmsKeyArn="arn:k")
    keyed = one(document, "WorkerRole", KmsKeyArn="arn:k")["Policies"][0]["PolicyDocument"]["Statement"]
    assert keyed == filled(policy("role.json")["Statement"]) + [key], "worker with a key"
    for name in ("SubmitterPolicy", "OperatorPolicy"):
        assert one(document, name, KmsKeyArn="arn:k")["PolicyDocument"]["Statement"][-1] == key, f"{name} with a key"


def an_existing_bucket_and_queue_are_left_alone(document):
    resources = Template(document, CreateBucket="no", CreateQueue="no").resources()
    assert not {"Bucket", "BucketPolicy", "Queue", "QueuePolicy", "DeadLetters"} & set(resources)
    assert "Group" in resources


def people_are_told_about_dead_letters_and_old_jobs(document):
    for name in ("DeadLetterAlarm", "OldJobAlarm"):
        assert one(document, name, AlarmTopicArn="arn:t")["AlarmActions"] == ["arn:t"]
        assert "AlarmActions" not in one(document, name)


RULES = [
    names_that_others_refer_to_are_there, the_bucket_is_private_encrypted_and_cleans_up, bucket_and_queues_refuse_plain_http,
    the_dead_letters_outlive_the_queue, machines_take_only_signed_metadata_requests_and_encrypt_their_disk,
    nothing_comes_in_but_scrapes_from_the_given_range, the_group_starts_empty_and_an_update_leaves_its_size_alone,
    spot_has_four_pools_and_an_on_demand_base, the_drain_chain_holds, the_hook_is_the_one_that_the_watcher_completes,
    the_script_is_the_file_and_gets_every_setting_it_needs, policies_are_the_files,
    an_existing_bucket_and_queue_are_left_alone, people_are_told_about_dead_letters_and_old_jobs,
]


# ---------------------------------------------------------------- broken copies of the stack

def put(path, value):
    *way, last = path.split("/")

    def change(document):
        node = document["Resources"]
        for key in way:
            node = node[int(key) if isinstance(node, list) else key]
        if value is None:
            del node[int(last) if isinstance(node, list) else last]
        else:
            node[int(last) if isinstance(node, list) else last] = value
    return change


def short_hook(document):
    document["Mappings"]["Drain"]["100"]["Hook"] = 110


DATA = "LaunchTemplate/Properties/LaunchTemplateData"
STATEMENTS = "WorkerRole/Properties/Policies/0/PolicyDocument/Statement"
BROKEN = [
    ("metadata without a token", put(f"{DATA}/MetadataOptions/HttpTokens", "optional")),
    ("a disk in the clear", put(f"{DATA}/BlockDeviceMappings/0/Ebs/Encrypted", False)),
    ("an open port", put("SecurityGroup/Properties/SecurityGroupIngress", [{"FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}])),
    ("a DesiredCapacity", put("Group/Properties/DesiredCapacity", "0")),
    ("a hook of another name", put("Group/Properties/LifecycleHookSpecificationList/0/LifecycleHookName", "drain")),
    ("a hook shorter than the drain", short_hook),
    ("dead letters that expire first", put("DeadLetters/Properties/MessageRetentionPeriod", 345600)),
    ("a right that is not in role.json", put(f"{STATEMENTS}/0/Action/0", "sqs:*")),
    ("a statement of role.json left out", put(f"{STATEMENTS}/1", None)),
    ("another user data", put(f"{DATA}/UserData/Fn::Base64/Fn::Join/1/2", USER_DATA.replace("KillMode=mixed", "KillMode=process"))),
    ("a public bucket", put("Bucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy", False)),
    ("unfinished uploads that stay", put("Bucket/Properties/LifecycleConfiguration", {"Rules": []})),
    ("plain http to the bucket", put("BucketPolicy/Properties/PolicyDocument/Statement/0/Condition/Bool/aws:SecureTransport", "true")),
    ("Spot by the lowest price", put("Group/Properties/MixedInstancesPolicy/InstancesDistribution/SpotAllocationStrategy", "lowest-price")),
    ("a bucket that goes with the stack", put("Bucket/DeletionPolicy", "Delete")),
]


def found_out(change):
    document = variant(STACK, change)
    for rule in RULES:
        try:
            rule(document)
        except (AssertionError, KeyError, ValueError):
            return rule.__name__.replace("_", " ")
    raise AssertionError("no rule noticed")


# ---------------------------------------------------------------- the other files

def copies_are_up_to_date():
    for path in (OPS / "stack.yaml", OPS / "ecs" / "service.yaml"):
        assert embed(path.read_text()) == path.read_text(), f"{path.name}: run tests/ops/embed.py"


def the_template_can_be_deployed_without_a_bucket():
    size = (OPS / "stack.yaml").stat().st_size
    assert size <= TEMPLATE_LIMIT, f"{size} bytes"
    return f"{size} of {TEMPLATE_LIMIT} bytes"


def the_2013_rights_are_gone():
    for name in ("role.json", "submit-role.json", "operate-role.json"):
        for statement in policy(name)["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            assert not any("*" in action for action in actions), actions
            assert not any(resource == "*" or resource.endswith(":*") for resource in resources), resources
            assert not any(action.endswith("Batch") for action in actions), "batch calls are no IAM actions"


def ecs_scales_by_the_same_rules_and_drains():
    service = load(OPS / "ecs" / "service.yaml")
    container, = one(service, "Task")["ContainerDefinitions"]
    settings = {pair["Name"]: pair["Value"] for pair in container["Environment"]}
    drain = int(settings["BATCHPIPE_DRAIN_TIMEOUT"].removesuffix("s"))
    assert drain + 5 < container["StopTimeout"] <= 120, "Fargate gives at most 120 s"
    assert container["ReadonlyRootFilesystem"] is True and container["User"] == "65532"
    expressions = {}
    for file, document, running in (("stack", STACK, "wanted"), ("ecs", service, "running")):
        for name in ("WakeUpAlarm", "GoToSleepAlarm"):
            text = document["Resources"][name]["Properties"]["Metrics"][-1]["Expression"]
            expressions.setdefault(name, set()).add(text.replace(running, "N"))
    assert all(len(texts) == 1 for texts in expressions.values()), expressions
    wake_up = one(service, "WakeUp")["StepScalingPolicyConfiguration"]
    assert wake_up["AdjustmentType"] == "ChangeInCapacity" and wake_up["Cooldown"] >= 120, "it could end tasks at work"
    assert [step["ScalingAdjustment"] for step in wake_up["StepAdjustments"]] == \
        [step["ScalingAdjustment"] for step in one(STACK, "WakeUp")["StepAdjustments"]]
    backlog = one(service, "Backlog")["TargetTrackingScalingPolicyConfiguration"]
    assert backlog["DisableScaleIn"] is True
    assert backlog["CustomizedMetricSpecification"]["Metrics"][-1]["Expression"] == \
        one(STACK, "Backlog")["TargetTrackingConfiguration"]["CustomizedMetricSpecification"]["Metrics"][-1]["Expression"]
    assert one(service, "Target")["MinCapacity"] == 0
    assert "DesiredCount" not in one(service, "Service"), "a stack update would set it and end tasks at work"
    wanted = [statement for statement in policy("role.json")["Statement"] if statement["Sid"] not in ("FetchProgram", "LeaveTheGroup")]
    assert [statement["Sid"] for statement in one(service, "WorkerRole")["Policies"][0]["PolicyDocument"]["Statement"]] == \
        [statement["Sid"] for statement in wanted]


def kubernetes_objects():
    text = re.sub(r"<([^>]*)>", r"\1", (OPS / "kubernetes" / "worker.yaml").read_text())
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def kubernetes_manifests_are_valid():
    try:
        import kubernetes_validate
    except ImportError as missing:
        raise Skip(f"kubernetes-validate could not be installed ({missing})") from None
    version = kubernetes_validate.latest_version()
    for kind in ("ServiceAccount", "Deployment"):
        kubernetes_validate.validate(kubernetes_objects()[kind], version, strict=True)
    broken = kubernetes_objects()["Deployment"]
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 120
    try:
        kubernetes_validate.validate(broken, version, strict=True)
    except kubernetes_validate.ValidationError:
        return f"Kubernetes {version}"
    raise AssertionError("a misspelt field was not noticed")


def kubernetes_counts_jobs_in_flight_and_drains():
    objects = kubernetes_objects()
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    container, = pod["containers"]
    settings = {pair["name"]: pair["value"] for pair in container["env"]}
    drain = int(settings["BATCHPIPE_DRAIN_TIMEOUT"].removesuffix("s"))
    assert drain + 5 < pod["terminationGracePeriodSeconds"]
    assert "replicas" not in objects["Deployment"]["spec"], "an apply would set it"
    probe = container["livenessProbe"]
    assert probe["httpGet"] == {"path": "/healthz", "port": "metrics"}, "what the program serves, at the port it has"
    assert [port["name"] for port in container["ports"]] == ["metrics"]
    # The worker's own watchdog, after 600 s of which /healthz fails for 300, tells more than a kill does.
    assert probe["periodSeconds"] * probe["failureThreshold"] > 300, "the watchdog must come first"
    scaled = objects["ScaledObject"]["spec"]
    assert scaled["minReplicaCount"] == 0
    assert scaled["scaleTargetRef"]["name"] == objects["Deployment"]["metadata"]["name"]
    trigger, = scaled["triggers"]
    assert trigger["type"] == "aws-sqs-queue" and trigger["metadata"]["scaleOnInFlight"] == "true"
    assert trigger["authenticationRef"]["name"] == objects["TriggerAuthentication"]["metadata"]["name"]
    monitor = objects["PodMonitor"]["spec"]
    assert monitor["selector"] == objects["Deployment"]["spec"]["selector"]
    assert monitor["podMetricsEndpoints"][0]["port"] in [port["name"] for port in container["ports"]]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def the_image_has_roots_for_tls_and_no_root():
    lines = (OPS / "Dockerfile").read_text().splitlines()
    last = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")):]
    assert last[0] == "FROM scratch" and "USER 65532:65532" in last
    assert any(line.startswith("COPY") and line.endswith("/etc/ssl/certs/ca-certificates.crt") for line in last)
    assert last[-2:] == ['ENTRYPOINT ["/batchpipe"]', 'CMD ["run"]']


def known_settings():
    source = ROOT / "src" / "config" / "settings.rs"
    if not source.exists():
        raise Skip("src/config/settings.rs is not there")
    known = set(re.findall(r'Setting::(?:one|many|switch)\(\s*"([a-z-]+)"', source.read_text()))
    assert len(known) > 40, known
    return known


def docs_name_only_what_there_is():
    """Parameters and resources of the stack, and flags of the program, as docs/deploy.md writes them."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    there = set(STACK["Parameters"]) | set(STACK["Resources"]) | set(STACK["Outputs"])
    named = set(re.findall(r"\b([A-Z][A-Za-z0-9]+)=", text)) | set(re.findall(r"`([A-Z][a-z]+[A-Z]\w*)`", text))
    named -= {"MessageRetentionPeriod", "StringLikeIfExists", "DeleteMessageBatch", "StopTimeout", "AmazonSSMManagedInstanceCore", "BatchpipeLeaseLost"}
    named = {name for name in named if not name.isupper()} - {"Name", "Values"}
    assert named <= there, f"not in the stack: {named - there}"
    # The program's commands, and the flags that stand by themselves between backticks.
    code = re.findall(r"`(--[a-z-]+)[^`]*`", text) + re.findall(r"(?:\$ |`)batchpipe [^`$]*", text)
    flags = {flag for each in code for flag in re.findall(r"--([a-z][a-z-]+)", each)} - {"stack-name"}
    assert len(flags) >= 5, flags
    assert flags <= known_settings(), f"no flags of batchpipe: {flags - known_settings()}"
    return f"{len(named)} names, {len(flags)} flags"


def settings_are_ones_the_program_knows():
    known = {f"BATCHPIPE_{name.replace('-', '_').upper()}" for name in known_settings()}
    used = {match for match in re.findall(r'echo "(BATCHPIPE_[A-Z_]+)=', USER_DATA)} - {"BATCHPIPE_GROUP", "BATCHPIPE_HOOK"}
    used |= set(re.findall(r"\b(BATCHPIPE_[A-Z_]+)=", settings_of(STACK)["BATCHPIPE_SETTINGS"]))
    container, = one(load(OPS / "ecs" / "service.yaml"), "Task")["ContainerDefinitions"]
    used |= {pair["Name"] for pair in container["Environment"] if pair["Name"].startswith("BATCHPIPE_")}
    pod = kubernetes_objects()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    used |= {pair["name"] for pair in pod["env"] if pair["name"].startswith("BATCHPIPE_")}
    assert used <= known, f"not settings of batchpipe: {used - known}"
    return f"{len(used)} settings"


def main():
    for rule in RULES:
        check(f"stack: {rule.__name__.replace('_', ' ')}", rule, STACK)
    for name, change in BROKEN:
        check(f"stack: found out: {name}", found_out, change)
    for rule in (
        copies_are_up_to_date, the_template_can_be_deployed_without_a_bucket, the_2013_rights_are_gone,
        ecs_scales_by_the_same_rules_and_drains, kubernetes_manifests_are_valid,
        kubernetes_counts_jobs_in_flight_and_drains, the_image_has_roots_for_tls_and_no_root, docs_name_only_what_there_is, settings_are_ones_the_program_knows,
    ):
        check(f"files: {rule.__name__.replace('_', ' ')}", rule)
    finish()


if __name__ == "__main__":
    main()
