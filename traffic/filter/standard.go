package filter

// standardQuery is the documented default exclusion: health checks, scrapes, and
// what agents of monitoring vendors send home.
const standardQuery = `(
	header[User-Agent] CONTAINS "ELB-HealthChecker/" OR
	header[User-Agent] CONTAINS "kube-probe" OR
	header[User-Agent] CONTAINS "Prometheus/" OR
	header[User-Agent] CONTAINS "GoogleHC/" OR
	location IS "/healthz" OR
	location IS "/livez" OR
	location IS "/readyz" OR
	location CONTAINS "/hystrix.stream" OR
	host REGEX "^(monitoring|logs)\.[a-z0-9-]+\.amazonaws\.com" OR
	host CONTAINS ".datadoghq." OR
	host CONTAINS ".newrelic.com" OR
	host CONTAINS ".nr-data.net" OR
	host CONTAINS ".dynatrace.com" OR
	host CONTAINS ".appdynamics.com" OR
	host CONTAINS ".instana.io"
)`

// Standard returns the default exclusion filter of a forwarder, "standard".
func Standard() *Filter {
	f, err := Parse(standardQuery)
	if err != nil {
		panic(err) // the query is a constant
	}
	f.id = "standard"
	return f
}

// ParseSetting reads what a forwarder is told to exclude: "standard", or a filter in
// JSON. Where it is told nothing it returns nil.
func ParseSetting(text string) (*Filter, error) {
	switch text {
	case "":
		return nil, nil
	case "standard":
		return Standard(), nil
	}
	return ParseJSON([]byte(text))
}
