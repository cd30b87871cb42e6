package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// plain returns what is wrong with a request in words for whoever wrote it, who
// knows of fields and nothing of the types here.
func plain(err error) error {
	var typed *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typed):
		what := typed.Value + " where " + wanted(typed.Type) + " is wanted"
		if field := fieldName(typed.Field); field != "" {
			return fmt.Errorf("%s: %s", field, what)
		}
		return errors.New(what)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends before its JSON does")
	case errors.Is(err, io.EOF):
		return errors.New("there is none; JSON is wanted")
	}
	return err
}

// fieldName is the path of a field without the types that are embedded on the
// way, whose names are not in the JSON.
func fieldName(path string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(path, "."), func(part string) bool {
		return part != "" && unicode.IsUpper(rune(part[0]))
	}), ".")
}

// wanted names the JSON value that is read into a type.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return fmt.Sprintf("a number, 0 to %d,", uint64(1)<<(t.Bits()-1)*2-1)
	case reflect.Int32, reflect.Int64, reflect.Int:
		high := int64(1)<<(t.Bits()-1) - 1
		return fmt.Sprintf("a number, %d to %d,", -high-1, high)
	case reflect.Float64:
		return "a number"
	}
	return "another value"
}
