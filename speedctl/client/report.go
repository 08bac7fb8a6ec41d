package client

import (
	"bytes"
	"context"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/traffic/report"
)

// PutReport keeps a report in the cloud.
func (c *Client) PutReport(ctx context.Context, r *report.Report) error {
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		return err
	}
	_, err := c.Reports.Put(ctx, &cloudv1.PutReportRequest{Report: b.Bytes()})
	return Explain(err)
}
