<?php
// Runs the whole registration flow with the client that openapi-generator generates for PHP.
declare(strict_types=1);

require 'GuzzleHttp/autoload.php';
spl_autoload_register(function (string $class): void {
    if (str_starts_with($class, 'Sixty\\')) {
        require __DIR__ . '/client/lib/' . str_replace('\\', '/', substr($class, strlen('Sixty\\'))) . '.php';
    }
});
// A warning or a deprecation in the generated client fails the run.
set_error_handler(function (int $level, string $message, string $file, int $line): never {
    throw new ErrorException($message, 0, $level, $file, $line);
});

use GuzzleHttp\Client;
use Sixty\Api\{AccountApi, AdministrationApi, RegistrationApi};
use Sixty\ApiException;
use Sixty\Configuration;
use Sixty\Model\{ActivateUser, Problem, RegisterUser, Status, User};

[$api, $mail, $ttl] = array_map(getenv(...), ['API_URL', 'MAIL_URL', 'CODE_TTL_SECONDS']);
const PASSWORD = 'päss:wörd of Ada';

function check(bool $holds, mixed $value): void
{
    $holds || throw new RuntimeException('failed with ' . print_r($value, true));
}

function address(string $name): string
{
    return $name . '-' . bin2hex(random_bytes(16)) . '@example.com';
}

function configuration(string $email = '', string $password = PASSWORD): Configuration
{
    $configuration = (new Configuration())->setHost($GLOBALS['api']);
    return $email === '' ? $configuration : $configuration->setUsername($email)->setPassword($password);
}

function registration(string $email = ''): RegistrationApi
{
    return new RegistrationApi(new Client(), configuration($email));
}

function register(string $email, string $password = PASSWORD): User
{
    return registration()->registerUser(new RegisterUser(['email' => $email, 'password' => $password]));
}

function activate(string $email, string $code): User
{
    return registration($email)->activateUser(new ActivateUser(['code' => $code]));
}

function account(string $email, string $password = PASSWORD): AccountApi
{
    return new AccountApi(new Client(), configuration($email, $password));
}

/** Waits for a mail to the address at the mock provider, and returns the code in the newest. */
function code(string $email): string
{
    $read = fn(string $path) => json_decode(file_get_contents($GLOBALS['mail'] . $path), flags: JSON_THROW_ON_ERROR);
    for ($deadline = time() + 30; time() < $deadline; usleep(100_000)) {
        $found = $read('/api/v1/search?query=' . urlencode("to:$email"))->messages;
        if ($found !== []) {
            $text = $read("/api/v1/message/{$found[0]->ID}")->Text;
            check(preg_match('/\b\d{4}\b/', $text, $match) === 1, $text);
            return $match[0];
        }
    }
    throw new RuntimeException('no mail arrived within 30 seconds');
}

/** Runs a request that must fail, and returns the typed problem in the answer. */
function problem(callable $request, int $status, string $name): Problem
{
    try {
        $answer = $request();
    } catch (ApiException $error) {
        $problem = $error->getResponseObject();
        check($problem instanceof Problem && $error->getCode() === $status, $error->getMessage());
        check([$problem->getStatus(), $problem->getType()] === [$status, "/problems/$name"], (string) $problem);
        return $problem;
    }
    throw new RuntimeException("$name was expected, not " . print_r($answer, true));
}

function pointers(Problem $problem): array
{
    return array_map(fn($error) => $error->getPointer(), $problem->getErrors());
}

// The generated client compares the pattern of a password by octets: letters of every script must pass.
foreach (['ÉÉÉÉÉÉÉÉ', 'пароль-длинный', 'パスワードは長い'] as $password) {
    check((new RegisterUser(['email' => address('ada'), 'password' => $password]))->valid(), $password);
}

[$late, $ada] = [address('late'), address('ada')];
$registered = register($late);
check($registered->getStatus() === Status::PENDING && $registered->getActivatedAt() === null, (string) $registered);
[$late_code, $late_since] = [code($late), microtime(true)];

check(register($ada)->getEmail() === $ada, $ada);
$right = code($ada);
$wrong = preg_replace_callback('/./', fn($digit) => $digit[0] === '0' ? '1' : '0', $right);

$incorrect = problem(fn() => activate($ada, $wrong), 422, 'incorrect-code');
check([$incorrect->getAttemptsRemaining(), pointers($incorrect)] === [2, ['/code']], (string) $incorrect);
$activated = activate($ada, $right);
check($activated->getStatus() === Status::ACTIVE, (string) $activated);
check($activated->getActivatedAt() >= $activated->getCreatedAt(), (string) $activated);
problem(fn() => activate($ada, $right), 409, 'already-active');

problem(fn() => account($ada, 'not her password')->getCurrentUser(), 401, 'unauthenticated');
$administration = new AdministrationApi(new Client(), configuration($ada));
problem(fn() => $administration->listUsers(status: Status::ACTIVE, limit: 2), 403, 'forbidden');
// The generated client refuses an address or a password that breaks the schema, before it sends a request.
$invalid = problem(fn() => register('ada', 'password'), 422, 'invalid-field');
check(pointers($invalid) === ['/email', '/password'], (string) $invalid);
$too_soon = problem(fn() => register($late), 429, 'too-many-codes');
check($too_soon->getRetryAfter() > 0, (string) $too_soon);
problem(fn() => registration($late)->resendCode(), 429, 'too-many-codes');

usleep(max(0, (int) (($late_since + (float) $ttl + 1 - microtime(true)) * 1e6)));
problem(fn() => activate($late, $late_code), 410, 'code-expired');

account($ada)->deleteCurrentUser();
problem(fn() => account($ada)->getCurrentUser(), 401, 'unauthenticated');
