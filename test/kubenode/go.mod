module github.com/speedscale/speedscale/test/kubenode

go 1.26
