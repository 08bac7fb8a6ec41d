package ingest

// SetFault has f asked at each step of an attempt to archive: an error makes it
// fail there. It is called before Run.
func (in *Ingest) SetFault(f func(step string) error) { in.fault = f }
