package config

// ParseFile is parseFile, but gives keys and texts.
func ParseFile(name string, data []byte) (map[string][]string, Errors) {
	settings, errs := parseFile(name, data)
	keys := map[string][]string{}
	for _, g := range settings {
		for _, v := range g.values {
			keys[g.option.Name] = append(keys[g.option.Name], v.text)
		}
	}
	return keys, errs
}
