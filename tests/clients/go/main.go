// Runs a registration, a password reset and a change of address with the client that openapi-generator generates for Go.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"drive/client"
)

const (
	password    = "päss:wörd of Ada"
	newPassword = "näw:päss of Ada"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(holds bool, what ...any) {
	if !holds {
		panic(fmt.Sprint(what...))
	}
}

func address(name string) string {
	return strings.ToLower(name + "-" + rand.Text() + "@example.com")
}

func credentials(email, password string) context.Context {
	auth := client.BasicAuth{UserName: email, Password: password}
	return context.WithValue(context.Background(), client.ContextBasicAuth, auth)
}

func read(url string, into any) {
	response := must(http.Get(url))
	defer response.Body.Close()
	check(json.NewDecoder(response.Body).Decode(into) == nil, "the mock provider's response is not JSON")
}

// Waits until the newest mail to the address at the mock provider has a code of so many digits, and returns the code.
func code(email string, digits int) string {
	pattern := regexp.MustCompile(fmt.Sprintf(`\b\d{%d}\b`, digits))
	mail := os.Getenv("MAIL_URL") + "/api/v1/"
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var found struct{ Messages []struct{ ID string } }
		read(mail+"search?query="+url.QueryEscape("to:"+email), &found)
		if len(found.Messages) > 0 {
			var message struct{ Text string }
			read(mail+"message/"+found.Messages[0].ID, &message)
			if found := pattern.FindString(message.Text); found != "" {
				return found
			}
		}
	}
	panic("no mail arrived within 30 seconds")
}

// Returns the problem in an error: the generated client decodes each status into the schema that the document declares.
func problem(response *http.Response, err error, status int, name string) client.Problem {
	var failed *client.GenericOpenAPIError
	check(errors.As(err, &failed), err)
	problem, ok := failed.Model().(client.Problem)
	check(ok, failed)
	check(response.StatusCode == status && int(problem.Status) == status, problem)
	check(problem.Type == "/problems/"+name, problem)
	return problem
}

func pointers(problem client.Problem) (pointers []string) {
	for _, fault := range problem.Errors {
		pointers = append(pointers, fault.GetPointer())
	}
	return pointers
}

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Getenv("API_URL")}}
	api := client.NewAPIClient(configuration)
	anonymous := context.Background()
	late, ada := address("late"), address("ada")
	register := func(email, password string) (*client.User, *http.Response, error) {
		user := client.RegisterUser{Email: email, Password: password}
		return api.RegistrationAPI.RegisterUser(anonymous).RegisterUser(user).Execute()
	}
	activate := func(email, code string) (*client.User, *http.Response, error) {
		request := api.RegistrationAPI.ActivateUser(credentials(email, password))
		return request.ActivateUser(client.ActivateUser{Code: code}).Execute()
	}

	user, _, err := register(late, password)
	check(must(user, err).Status == client.PENDING, user)
	lateCode, lateSince := code(late, 4), time.Now()

	user, response, err := register(ada, password)
	check(must(user, err).Email == ada && response.StatusCode == 201, user)
	check(response.Header.Get("Location") == "/v1/users/me", response)
	right := code(ada, 4)
	wrong := strings.Map(func(digit rune) rune {
		if digit == '0' {
			return '1'
		}
		return '0'
	}, right)

	_, response, err = activate(ada, wrong)
	incorrect := problem(response, err, 422, "incorrect-code")
	check(incorrect.GetAttemptsRemaining() == 2 && slices.Equal(pointers(incorrect), []string{"/code"}), incorrect)
	user, _, err = activate(ada, right)
	check(must(user, err).Status == client.ACTIVE, user)
	check(!user.GetActivatedAt().Before(user.CreatedAt), user)
	_, response, err = activate(ada, right)
	problem(response, err, 409, "already-active")

	_, response, err = api.AccountAPI.GetCurrentUser(credentials(ada, "not her password")).Execute()
	problem(response, err, 401, "unauthenticated")
	check(strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Basic "), response)
	_, response, err = api.AdministrationAPI.ListUsers(credentials(ada, password)).Limit(2).Execute()
	problem(response, err, 403, "forbidden")
	_, response, err = register("ada", "short")
	invalid := problem(response, err, 422, "invalid-field")
	check(slices.Equal(pointers(invalid), []string{"/email", "/password"}), invalid)
	_, response, err = register(late, password)
	tooSoon := problem(response, err, 429, "too-many-codes")
	check(strconv.FormatInt(tooSoon.GetRetryAfter(), 10) == response.Header.Get("Retry-After"), tooSoon)
	_, response, err = api.RegistrationAPI.ResendCode(credentials(late, password)).Execute()
	problem(response, err, 429, "too-many-codes")

	queued, _, err := api.PasswordResetAPI.RequestPasswordReset(anonymous).
		RequestPasswordReset(client.RequestPasswordReset{Email: ada}).Execute()
	check(must(queued, err).RetryAfter == 600, queued)
	reset := client.ResetPassword{Email: ada, Code: code(ada, 8), Password: newPassword}
	response, err = api.PasswordResetAPI.ResetPassword(anonymous).ResetPassword(reset).Execute()
	check(must(response, err).StatusCode == 204, response)
	response, err = api.PasswordResetAPI.ResetPassword(anonymous).ResetPassword(reset).Execute()
	problem(response, err, 410, "code-expired")
	_, response, err = api.AccountAPI.GetCurrentUser(credentials(ada, password)).Execute()
	problem(response, err, 401, "unauthenticated")

	moved, owner := address("moved"), credentials(ada, newPassword)
	queued, _, err = api.AccountAPI.ChangeEmail(owner).ChangeEmail(client.ChangeEmail{Email: moved}).Execute()
	check(must(queued, err).RetryAfter == 60, queued)
	confirmation := client.ActivateUser{Code: code(moved, 4)}
	user, _, err = api.AccountAPI.ConfirmEmail(owner).ActivateUser(confirmation).Execute()
	check(must(user, err).Email == moved, user)
	_, response, err = api.AccountAPI.GetCurrentUser(owner).Execute()
	problem(response, err, 401, "unauthenticated")

	seconds := must(strconv.ParseFloat(os.Getenv("CODE_TTL_SECONDS"), 64))
	time.Sleep(time.Until(lateSince.Add(time.Duration((seconds + 1) * float64(time.Second)))))
	_, response, err = activate(late, lateCode)
	problem(response, err, 410, "code-expired")

	response, err = api.AccountAPI.DeleteCurrentUser(credentials(moved, newPassword)).Execute()
	check(must(response, err).StatusCode == 204, response)
	_, response, err = api.AccountAPI.GetCurrentUser(credentials(moved, newPassword)).Execute()
	problem(response, err, 401, "unauthenticated")
}
