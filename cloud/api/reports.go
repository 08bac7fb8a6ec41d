package api

import (
	"context"
	"encoding/json"
	"time"

	cloudv1 "github.com/speedscale/speedscale/cloud/api/v1"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// maxReports bounds what List returns.
const maxReports = 1000

type reportService struct{ *API }

// Put implements cloudv1connect.ReportServiceHandler.
func (s reportService) Put(ctx context.Context, r *cloudv1.PutReportRequest) (*cloudv1.PutReportResponse, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(r.GetReport(), &fields); err != nil {
		return nil, invalid("report is not a JSON object: %w", err)
	}
	var head struct {
		ID       string    `json:"id"`
		Status   string    `json:"status"`
		Started  time.Time `json:"started"`
		Finished time.Time `json:"finished"`
	}
	if err := json.Unmarshal(r.GetReport(), &head); err != nil {
		return nil, invalid("report: %w", err)
	}
	switch {
	case !validID(head.ID):
		return nil, invalid("report: id %q is not 1 to 64 letters, digits, - and _, or it is %q", head.ID, catalog.Latest)
	case head.Status == "":
		return nil, invalid("report %q: status is missing", head.ID)
	}
	created := head.Finished
	if created.IsZero() {
		created = time.Now()
	}
	// What lists show is the report without its long parts.
	delete(fields, "endpoints")
	delete(fields, "failures")
	summary, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	err = s.o.Catalog.PutReport(ctx, catalog.Report{ID: head.ID, Created: created.UnixNano(), Document: r.GetReport(), Summary: summary})
	if err != nil {
		return nil, err
	}
	return &cloudv1.PutReportResponse{}, nil
}

// Get implements cloudv1connect.ReportServiceHandler.
func (s reportService) Get(ctx context.Context, r *cloudv1.GetReportRequest) (*cloudv1.GetReportResponse, error) {
	doc, err := s.o.Catalog.Report(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &cloudv1.GetReportResponse{Report: doc}, nil
}

// List implements cloudv1connect.ReportServiceHandler.
func (s reportService) List(ctx context.Context, r *cloudv1.ListReportsRequest) (*cloudv1.ListReportsResponse, error) {
	limit := int(r.GetLimit())
	if limit <= 0 || limit > maxReports {
		limit = maxReports
	}
	all, err := s.o.Catalog.Reports(ctx, limit)
	if err != nil {
		return nil, err
	}
	return &cloudv1.ListReportsResponse{Reports: all}, nil
}

// validID says whether an id that a client chose can stand in paths and commands.
func validID(id string) bool {
	if id == "" || len(id) > 64 || id == catalog.Latest {
		return false
	}
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}
