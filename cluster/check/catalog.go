package check

// group is a category with its checks.
type group struct {
	id, title string
	checks    []check
}

// check looks at facts. Its title says what should be so.
type check struct {
	id, title string
	judge     func(*Facts) []Result
}

// Entry names a check, for who lists or documents them.
type Entry struct{ Category, ID, Title string }

// Entries are all checks that Before and After make, each once.
func Entries() (all []Entry) {
	seen := map[string]bool{}
	for _, groups := range [][]group{before(), after()} {
		for _, g := range groups {
			for _, c := range g.checks {
				if !seen[c.id] {
					seen[c.id] = true
					all = append(all, Entry{g.title, c.id, c.title})
				}
			}
		}
	}
	return all
}

func kubernetesAPI() group {
	return group{"kubernetes-api", "Kubernetes API", []check{
		{"api-reachable", "the API server answers", one(apiReachable)},
		{"api-version", "the cluster's version is supported", one(apiVersion)},
		{"api-clock", "this machine and the API server agree on the time", one(apiClock)},
	}}
}

func before() []group {
	return []group{
		kubernetesAPI(),
		{"installation", "Installation", []check{
			{"install-rights", "you may make all that is installed", one(rights)},
			{"install-leftovers", "nothing of another installation is in the way", one(leftovers)},
			{"install-storage", "the cluster has storage for the cloud", one(storage)},
		}},
	}
}

func after() []group {
	return []group{
		kubernetesAPI(),
		{"definitions", "Definitions", []check{
			{"replay-definition", "the API server knows TrafficReplays", one(definition)},
			{"replay-definition-version", "the definition of TrafficReplay has all that this speedctl knows", one(definitionVersion)},
		}},
		{"operator", "Operator", []check{
			{"operator-ready", "the operator runs", one(operatorReady)},
			{"operator-version", "speedctl and operator are of the same version", one(operatorVersion)},
			{"operator-single", "one operator is in the cluster", one(operatorSingle)},
		}},
		{"webhooks", "Webhooks", []check{
			{"webhook-registered", "the API server knows the webhooks for workloads and pods", one(webhookRegistered)},
			{"webhook-replay-registered", "the API server knows the webhooks for replays", one(webhookReplayRegistered)},
			{"webhook-policy", "the webhooks fail as they should when the operator is away", webhookPolicy},
			{"webhook-endpoints", "a ready pod is behind each webhook", webhookEndpoints},
			{"webhook-ca-bundle", "the webhooks trust the operator's certificate", webhookBundle},
			{"webhook-certificate", "the operator's certificate is valid", one(webhookCertificate)},
			{"webhook-answers", "a workload that asks for a sidecar gets one", one(webhookAnswers)},
		}},
		{"forwarder", "Forwarder", []check{
			{"forwarder-ready", "the forwarder runs", one(forwarderReady)},
			{"forwarder-endpoints", "sidecars reach a ready forwarder", one(forwarderEndpoints)},
			{"forwarder-version", "forwarder and operator are of the same version", one(forwarderVersion)},
			{"forwarder-telemetry", "the forwarder says how it is", one(forwarderTelemetry)},
			{"forwarder-takes", "the forwarder takes what sidecars send", one(forwarderTakes)},
			{"forwarder-spool", "the spool has room", one(forwarderSpool)},
			{"forwarder-acknowledged", "the cloud acknowledges what the forwarder sends", one(forwarderAcknowledged)},
			{"forwarder-clock", "the forwarder and the cloud agree on the time", one(forwarderClock)},
		}},
		{"inspector", "Inspector", []check{
			{"inspector-ready", "the inspector runs, or is left out", one(inspectorReady)},
		}},
		{"cloud", "Cloud", []check{
			{"cloud-reachable", "the cloud answers", one(cloudReachable)},
			{"cloud-key", "the cloud accepts your API key", one(cloudKey)},
			{"cloud-intake", "the cloud takes in what it is sent", one(cloudIntake)},
			{"cloud-clock", "this machine and the cloud agree on the time", one(cloudClock)},
		}},
		{"workloads", "Workloads", []check{
			{"workload-captured", "every pod of a workload that asks for a sidecar has one", workloadsCaptured},
			{"workload-withdrawn", "no sidecar was refused or withdrawn", workloadsWithdrawn},
			{"workload-managed-by", "workloads are left to an operator that is there", workloadsManagedBy},
			{"workload-autoscaler", "no autoscaler counts the sidecar", workloadsAutoscaler},
			{"workload-network-policy", "network policies let sidecars reach the forwarder", workloadsNetworkPolicy},
		}},
		{"sidecars", "Sidecars", []check{
			{"sidecar-ready", "the sidecars run", sidecarsReady},
			{"sidecar-version", "the sidecars are of the operator's version", sidecarsVersion},
			{"sidecar-trust", "the sidecars trust the forwarder's certificate", sidecarsTrust},
			{"sidecar-telemetry", "the forwarder hears of every sidecar", sidecarsHeard},
			{"sidecar-capture", "the sidecars capture", sidecarsCapture},
			{"sidecar-drops", "the sidecars drop nothing that they should capture", sidecarsDrops},
			{"sidecar-quiet", "the sidecars see traffic", sidecarsQuiet},
			{"sidecar-clock", "sidecars and forwarder agree on the time", sidecarsClock},
		}},
		{"metrics", "Metrics", []check{
			{"metrics-api", "the metrics API answers", one(metricsAPI)},
		}},
	}
}
