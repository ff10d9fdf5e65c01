package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// outgoing returns an RPC's request metadata: the user agent, credentials, and
// that of ctx, sorted by key. As in grpc-go, metadata that gRPC forbids is an
// error, and reserved keys are left out.
func (c *Channel) outgoing(ctx context.Context, method string, o *callOptions) ([]wire.Metadatum, error) {
	md, _ := metadata.FromOutgoingContext(ctx)
	for key, values := range md {
		if err := validate(key, values...); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	out := make([]wire.Metadatum, 0, 1+len(md))
	out = append(out, wire.Metadatum{Key: "user-agent", Value: c.userAgent})
	creds, err := c.credentials(ctx, method, o.credentials)
	if err != nil {
		return nil, err
	}
	out = append(out, creds...)
	if len(md) == 0 {
		return out, nil
	}
	for _, key := range slices.Sorted(maps.Keys(md)) {
		if reserved(key) {
			continue
		}
		for _, value := range md[key] {
			out = append(out, wire.Metadatum{Key: key, Value: value})
		}
	}
	return out, nil
}

// credentials returns the metadata of an RPC's credentials.
func (c *Channel) credentials(ctx context.Context, method string, creds credentials.PerRPCCredentials) ([]wire.Metadatum, error) {
	if creds == nil {
		return nil, nil
	}
	if creds.RequireTransportSecurity() && !c.target.Secure {
		return nil, status.Error(codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection")
	}
	ctx = credentials.NewContextWithRequestInfo(ctx, credentials.RequestInfo{Method: method, AuthInfo: c.authInfo()})
	service := method[:max(strings.LastIndex(method, "/"), 0)]
	md, err := creds.GetRequestMetadata(ctx, "https://"+strings.TrimSuffix(c.target.Host, ":443")+service)
	if err != nil {
		return nil, credentialsError(err)
	}
	var out []wire.Metadatum
	for key, value := range md {
		key = strings.ToLower(key)
		if err := validate(key, value); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		out = append(out, wire.Metadatum{Key: key, Value: value})
	}
	return out, nil
}

// credentialsError maps the error of credentials to a status, with the codes that
// gRFC A54 allows.
func credentialsError(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return status.Errorf(codes.Internal, "transport: per-RPC creds failed due to error: %v", err)
	}
	switch st.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted, codes.OutOfRange, codes.DataLoss:
		return status.Errorf(codes.Internal, "transport: received per-RPC creds error with illegal status: %v", err)
	default:
		return err
	}
}

// authInfo returns the security between client and bridge; nil: none.
func (c *Channel) authInfo() credentials.AuthInfo {
	if !c.target.Secure {
		return nil
	}
	return credentials.TLSInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
}

// validate checks a metadata key and its values against gRPC's rules.
// Pseudo-headers pass, since they are left out later.
func validate(key string, values ...string) error {
	if key == "" {
		return fmt.Errorf("there is an empty key in the header")
	}
	if key[0] == ':' {
		return nil
	}
	for i := range len(key) {
		c := key[i]
		if !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("header key %q contains illegal characters not in [0-9a-z-_.]", key)
		}
	}
	if strings.HasSuffix(key, "-bin") {
		return nil
	}
	for _, value := range values {
		for i := range len(value) {
			if value[i] < 0x20 || value[i] > 0x7E {
				return fmt.Errorf("header key %q contains value with non-printable ASCII characters", key)
			}
		}
	}
	return nil
}

// reserved reports whether only gRPC itself sets the key.
func reserved(key string) bool {
	switch key {
	case "content-type", "user-agent", "te",
		"grpc-message-type", "grpc-encoding", "grpc-message", "grpc-status", "grpc-timeout":
		return true
	}
	return strings.HasPrefix(key, ":")
}

// incoming returns metadata received from a bridge as grpc-go's.
func incoming(list []wire.Metadatum) metadata.MD {
	md := make(metadata.MD, len(list))
	for _, m := range list {
		md[m.Key] = append(md[m.Key], m.Value)
	}
	return md
}

// bridgeAddr is the peer address in grpc.Peer.
type bridgeAddr string

func (bridgeAddr) Network() string  { return "pollbridge" }
func (a bridgeAddr) String() string { return string(a) }

// userAgent returns the client's user agent.
func userAgent(prefix string) string {
	return strings.TrimSpace(prefix + " " + release + " grpc-go/" + grpc.Version)
}
