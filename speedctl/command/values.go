package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/speedscale/speedscale/cluster/helm"
	"github.com/speedscale/speedscale/speedctl/term"
)

// chartValues are flags with values of the two charts, as Helm has them.
type chartValues struct {
	files, set, setString, setFile, cloud, cloudString []string
}

func (v *chartValues) add(c *cobra.Command) {
	c.Flags().StringSliceVarP(&v.files, "values", "f", nil, "file with values of the operator's chart, on top of those of the files before it; repeatable")
	c.Flags().StringArrayVar(&v.set, "set", nil, "value of the operator's chart, such as clusterName=staging; repeatable")
	c.Flags().StringArrayVar(&v.setString, "set-string", nil, "value of the operator's chart that is a text, such as image.tag=20261128; repeatable")
	c.Flags().StringArrayVar(&v.setFile, "set-file", nil, "value of the operator's chart from a file, such as filterRule=filter.json; repeatable")
	c.Flags().StringArrayVar(&v.cloud, "cloud-set", nil, "value of the cloud's chart; repeatable")
	c.Flags().StringArrayVar(&v.cloudString, "cloud-set-string", nil, "value of the cloud's chart that is a text; repeatable")
}

// read returns the values of the operator's chart and of the cloud's: those of the files,
// and the others on top of them.
func (v *chartValues) read() (operator, cloud map[string]any, err error) {
	operator, cloud = map[string]any{}, map[string]any{}
	for _, file := range v.files {
		var values map[string]any // none, where the file has only comments
		data, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(data, &values)
		}
		if err != nil {
			return nil, nil, term.WithCode(fmt.Errorf("--values %q: %w", file, err), term.ExitUsage)
		}
		operator = helm.Merge(operator, values)
	}
	for _, flags := range []struct {
		list []string
		set  func(string, map[string]any) error
		into map[string]any
	}{
		{v.set, helm.Set, operator}, {v.setString, helm.SetString, operator}, {v.setFile, helm.SetFile, operator},
		{v.cloud, helm.Set, cloud}, {v.cloudString, helm.SetString, cloud},
	} {
		for _, text := range flags.list {
			if err := flags.set(text, flags.into); err != nil {
				return nil, nil, term.WithCode(err, term.ExitUsage)
			}
		}
	}
	return operator, cloud, nil
}
