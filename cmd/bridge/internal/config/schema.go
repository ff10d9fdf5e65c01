package config

import "encoding/json"

// schema is a JSON Schema, as far as the settings need it.
type schema struct {
	Schema               string             `json:"$schema,omitempty"`
	Title                string             `json:"title,omitempty"`
	Description          string             `json:"description,omitempty"`
	Type                 any                `json:"type,omitempty"` // a name, or several
	Enum                 []string           `json:"enum,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	Minimum              *int               `json:"minimum,omitempty"`
	Maximum              *int               `json:"maximum,omitempty"`
	Default              any                `json:"default,omitempty"`
	AnyOf                []*schema          `json:"anyOf,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AdditionalProperties *bool              `json:"additionalProperties,omitempty"`
}

// Schema returns the JSON Schema of the file, for editors.
func Schema() ([]byte, error) {
	root := object("Settings of bridge serve", nil)
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	for _, o := range Options() {
		item := item(o.Value, o.Switch, o.Words)
		if o.mapping {
			item = &schema{AnyOf: []*schema{item, backendSchema()}}
		}
		root.Properties[o.Name] = described(item, o.Help, o.Default, o.Many)
	}
	return json.MarshalIndent(root, "", "  ")
}

func backendSchema() *schema {
	s := object("", []string{"target"})
	for _, k := range backendKeys() {
		s.Properties[k.Name] = described(item(k.Value, k.Switch, k.Words), k.Help, "", k.Many)
	}
	return s
}

func object(title string, required []string) *schema {
	return &schema{Title: title, Type: "object", Properties: map[string]*schema{}, Required: required, AdditionalProperties: new(bool)}
}

// item returns the schema of one value, by its name in help.
func item(value string, isSwitch bool, words []string) *schema {
	one := 1
	switch {
	case isSwitch:
		return &schema{Type: "boolean"}
	case words != nil:
		return &schema{Enum: words}
	case value == "N":
		return &schema{Type: "integer", Minimum: &one}
	case value == "SHARE":
		return &schema{Type: "number", Maximum: &one}
	case value == "SIZE":
		return &schema{Type: []string{"string", "integer"}, Pattern: "^[0-9]+([KMG]iB)?$", Minimum: &one}
	case value == "DURATION":
		return &schema{Type: "string", Pattern: "^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"}
	}
	return &schema{Type: "string"}
}

func described(item *schema, help, def string, many bool) *schema {
	s := item
	if many {
		s = &schema{AnyOf: []*schema{item, {Type: "array", Items: item}}}
	}
	s.Description = help
	if def != "" {
		s.Default = def
	}
	return s
}
