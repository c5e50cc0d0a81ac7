"""CloudWatch alarms and Auto Scaling policies, as the simulator runs them.

Every number and expression comes from the template. What is built in is how the services behave:
alarms look at one-minute datapoints that arrive a minute late; an alarm repeats its scaling action
every minute while it stays in ALARM; target tracking acts on 3 minutes above its target and, if it
may scale in, on 15 minutes below 90 % of it (from memory: no page of AWS tells these two).
"""

import math

from metric_math import Wrong, evaluate

LATE = 1  # minutes until a datapoint can be seen

NAMES = {
    "ApproximateNumberOfMessagesVisible": "visible",
    "ApproximateNumberOfMessagesNotVisible": "flying",
    "ApproximateNumberOfMessagesDelayed": "delayed",
    "GroupDesiredCapacity": "wanted",
    "GroupInServiceInstances": "running",
}


class Signal:
    """A metric or an expression over metrics, by minute."""

    def __init__(self, properties):
        if "Metrics" not in properties:
            self.metrics, self.expression = {"m": NAMES[properties["MetricName"]]}, "m"
            return
        self.metrics, returned = {}, []
        for metric in properties["Metrics"]:
            if metric.get("ReturnData", True):
                returned.append(metric)
            if "MetricStat" in metric:
                self.metrics[metric["Id"]] = NAMES[metric["MetricStat"]["Metric"]["MetricName"]]
        if len(returned) != 1:
            raise Wrong(f"{len(returned)} metrics return data, one must")
        self.expression = returned[0].get("Expression", returned[0]["Id"])

    def at(self, datapoints):
        return evaluate(self.expression, {name: datapoints.get(metric) for name, metric in self.metrics.items()})


class Alarm:
    def __init__(self, properties):
        self.signal = Signal(properties)
        self.threshold = float(properties["Threshold"])
        self.compare = properties["ComparisonOperator"]
        self.periods = int(properties["EvaluationPeriods"])
        self.needed = int(properties.get("DatapointsToAlarm", self.periods))
        self.missing = properties.get("TreatMissingData", "missing")
        self.actions = properties.get("AlarmActions", [])

    def breached(self, value):
        if value is None:
            return self.missing == "breaching"
        return {
            "GreaterThanThreshold": value > self.threshold,
            "GreaterThanOrEqualToThreshold": value >= self.threshold,
            "LessThanThreshold": value < self.threshold,
            "LessThanOrEqualToThreshold": value <= self.threshold,
        }[self.compare]

    def value_if_alarmed(self, history):
        """The newest value when the alarm is in ALARM, else None."""
        window = history[-self.periods:]
        values = [self.signal.at(datapoints) for datapoints in window]
        if len(values) < self.periods or sum(map(self.breached, values)) < self.needed:
            return None
        known = [value for value in values if value is not None]
        return known[-1] if known else self.threshold


class StepPolicy:
    """StepScaling and SimpleScaling."""

    def __init__(self, properties, alarm):
        self.alarm = alarm
        self.exact = properties["AdjustmentType"] == "ExactCapacity"
        self.cooldown = int(properties.get("Cooldown", 0))
        self.steps = properties.get("StepAdjustments") or [{"ScalingAdjustment": properties["ScalingAdjustment"]}]
        self.last = -math.inf

    def wanted(self, now, history, group):
        value = self.alarm.value_if_alarmed(history)
        if value is None or now - self.last < self.cooldown:
            return None
        above = value - self.alarm.threshold
        for step in self.steps:
            low = float(step.get("MetricIntervalLowerBound", -math.inf))
            high = float(step.get("MetricIntervalUpperBound", math.inf))
            if low <= above < high or above == high == 0:
                adjustment = int(step["ScalingAdjustment"])
                self.last = now
                if self.exact:
                    return adjustment
                # Machines that still warm up count as the answer to an earlier alarm.
                return max(group.desired, group.warm() + adjustment)
        return None


class TargetPolicy:
    def __init__(self, properties):
        settings = properties["TargetTrackingConfiguration"]
        self.signal = Signal(settings["CustomizedMetricSpecification"])
        self.target = float(settings["TargetValue"])
        self.scale_in = not settings.get("DisableScaleIn", False)

    def wanted(self, _now, history, group):
        values = [self.signal.at(datapoints) for datapoints in history[-15:]]
        recent = values[-3:]
        if len(recent) == 3 and all(value is not None and value > self.target for value in recent):
            return max(group.desired, math.ceil(group.in_service() * recent[-1] / self.target))
        low = len(values) == 15 and all(value is not None and value < 0.9 * self.target for value in values)
        if self.scale_in and low and group.in_service():
            return min(group.desired, max(1, math.ceil(group.in_service() * values[-1] / self.target)))
        return None


def policies(resources):
    """Every scaling policy that something drives, ready to run."""
    alarms = {
        action: Alarm(resource["Properties"])
        for resource in resources.values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
        for action in resource["Properties"].get("AlarmActions", [])
    }
    found = []
    for name, resource in resources.items():
        if resource["Type"] != "AWS::AutoScaling::ScalingPolicy":
            continue
        if resource["Properties"]["PolicyType"] == "TargetTrackingScaling":
            found.append(TargetPolicy(resource["Properties"]))
        elif f"<{name}>" in alarms:
            found.append(StepPolicy(resource["Properties"], alarms[f"<{name}>"]))
    return found
