package report_test

import (
	"strings"
	"testing"

	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/compare"
	"github.com/speedscale/speedscale/traffic/report"
	"github.com/speedscale/speedscale/traffic/snapshot"
)

// TestGRPCMessageIsReadable: a failure showed gRPC messages as escaped bytes.
func TestGRPCMessageIsReadable(t *testing.T) {
	pair := func(name string) *traffic.RRPair {
		message := append([]byte{0x0a, byte(len(name))}, name...)
		return &traffic.RRPair{
			L7Protocol: traffic.GRPCProtocol, Command: "/shop.v1.Inventory/Find", Location: "/shop.v1.Inventory/Find",
			Http: &traffic.HTTP{
				Req: &traffic.HTTPRequest{Method: "POST", Uri: "/shop.v1.Inventory/Find"},
				Res: &traffic.HTTPResponse{
					StatusCode: 200, Headers: []*traffic.Header{{Name: "content-type", Value: "application/grpc"}},
					Body: append([]byte{0, 0, 0, 0, byte(len(message))}, message...), BodySize: int64(5 + len(message)),
				},
			},
		}
	}
	b := report.NewBuilder(&snapshot.Meta{}, report.Options{})
	b.AddResult(report.Result{
		Recorded: pair("teapot"), Observed: pair("kettle"),
		Differences: []compare.Difference{{Location: "http.res.body"}},
	})
	f := b.Finish().Failures
	if len(f) != 1 || !strings.Contains(f[0].Recorded.Body, `"asString":"teapot"`) || !strings.Contains(f[0].Observed.Body, `"asString":"kettle"`) {
		t.Errorf("failures: %+v", f)
	}
}
