# Mails in English. Every message may use $service, the name of the service, and $contact: an e-mail address, a URL, or
# "none". A line break in a message is a blank.

## Parts of sentences

minutes = { $n ->
    [one] one minute
   *[other] { $n } minutes
}
seconds = { $n ->
    [one] one second
   *[other] { $n } seconds
}
hours = { $n ->
    [one] one hour
   *[other] { $n } hours
}
# Stands after "contact".
people = { $contact ->
    [none] the people who run { $service }
   *[other] the people who run { $service } ({ $contact })
}

## Parts of several mails

code-line = Your { $service } code is { $code }
spelled = Digit by digit: { $spelled }.
account-why = You get this mail because you have an account at { $service }.
learned-nothing =
    If it was not you, you need do nothing: whoever it was has learned nothing, and cannot get in.

## The code of a registration

code-subject = Your { $service } code
code-enter = Enter it within { $ttl } to activate your account. After that, you can ask for another.
code-why =
    You get this mail because somebody registered at { $service } with your address. If that was not you, you need do
    nothing: without the code there is no account. To delete the registration, open this link within a day and press
    the button:
not-me-link = This was not me

## Somebody registered the address of an account

existing-account-subject = You already have an account at { $service }
existing-account-what =
    Somebody, perhaps you, just registered with your address. You have an account already; it has not changed.
existing-account-if-you =
    If it was you, sign in with the password that you chose for the account. If you have forgotten it, registering again
    does not help: ask for a code to set a new password, or contact { people }.
existing-account-if-not =
    { learned-nothing } To delete their registration, open this link within a day and press the button; your account
    stays as it is:

## The account was activated

activated-subject = Your { $service } account is active
activated-what =
    Your { $service } account was just activated, with a code that was mailed to this address. If it was you, you need
    do nothing.
activated-if-not =
    If it was not you, whoever did it can read your mail. Change the password of your mailbox first, then contact
    { people } to have the account deleted.

## The people who run the service activated the account

activated-by-operator-subject = { activated-subject }
activated-by-operator-what =
    The people who run { $service } have activated your account. Your password is the one that you chose when you
    registered.
activated-by-operator-if-not = If you did not register, contact { people }.

## The password was changed

password-changed-subject = Your { $service } password was changed
password-changed-what =
    The password of your { $service } account was just changed. If it was you, or if you asked for it, you need do
    nothing.
password-changed-if-not =
    If not, somebody may have known your old password. Ask for a code to set a new one, or contact { people }. Change
    the old password wherever else you have used it.

## The code for a new password

reset-code-subject = Your code to set a new { $service } password
reset-code-line = Your code to set a new password is { $code }
reset-code-enter =
    Enter it within { $ttl }, together with your new password. After that, you can ask for another.
reset-code-if-not =
    If it was not you who asked for it, you need do nothing: nobody can change your password without this code. Never
    pass it on.

## The password was set anew with a code

password-reset-subject = Your { $service } password was reset
password-reset-what =
    The password of your { $service } account was just reset, with a code that was mailed to this address. If it was you,
    you need do nothing.
password-reset-if-not =
    If it was not you, whoever did it can read your mail. Change the password of your mailbox first. Then ask for a code
    to set a new { $service } password, or contact { people }.

## The code for another address

address-code-subject = Your { $service } code for this address
address-code-enter =
    Enter it within { $ttl } to make this the address of your { $service } account. After that, you can ask for another.
address-code-if-not =
    If it was not you, you need do nothing: somebody probably mistyped an address. Without the code nothing changes.

## Somebody wants to move an account to the address of another one

address-taken-subject = Your { $service } account has not changed
address-taken-what =
    Somebody, perhaps you, asked to make this the address of another { $service } account. You already have an account
    with this address, so nothing has changed.
address-taken-if-you =
    If it was you, sign in with this address and its password, or choose a different address for the other account.

## The address is being changed: to the old one

address-change-subject = The address of your { $service } account is being changed
address-change-what =
    Somebody, perhaps you, asked to change the address of your { $service } account. If it was you, you need do nothing.
address-change-if-not =
    If it was not you, somebody knows your password. Open this link within { $lifetime }: it takes the change back, and
    you must then set a new password.
address-change-link = Take the change back

## The change of the address was taken back

address-restored-subject = Your { $service } account has this address again
address-restored-what =
    The change of the address was taken back: this is the address of your { $service } account again. The old password
    no longer works, because somebody else may know it.
address-restored-next =
    Set a new password now: ask for a code as for a forgotten password. Choose one that you use nowhere else.
address-restored-help = If that does not work, contact { people }.
