package jwtauth

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// discoveryPath ends the URL at which an issuer says where its keys are (OpenID
// Connect Discovery 1.0, section 4).
const discoveryPath = "/.well-known/openid-configuration"

// discover returns the URL of the keys of the issuer whose configuration JWKS names.
func (k *keys) discover(ctx context.Context) (string, error) {
	raw, err := k.get(ctx, k.cfg.JWKS)
	if err != nil {
		return "", err
	}
	var found struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(raw, &found); err != nil {
		return "", fmt.Errorf("not the configuration of an issuer: %w", err)
	}
	if k.cfg.Issuer != "" && found.Issuer != k.cfg.Issuer {
		return "", fmt.Errorf("it is of issuer %q, not of %q", found.Issuer, k.cfg.Issuer)
	}
	secure := strings.HasPrefix(k.cfg.JWKS, "https:")
	if !isURL(found.JWKS) || secure && !strings.HasPrefix(found.JWKS, "https:") {
		return "", fmt.Errorf("its jwks_uri %q is not a URL as safe as its own", found.JWKS)
	}
	return found.JWKS, nil
}
