# Mails in German. See en/mails.ftl.

## Parts of sentences

# In the dative: these stand after "innerhalb von".
minutes = { $n ->
    [one] einer Minute
   *[other] { $n } Minuten
}
seconds = { $n ->
    [one] einer Sekunde
   *[other] { $n } Sekunden
}
hours = { $n ->
    [one] einer Stunde
   *[other] { $n } Stunden
}
# In the accusative: stands after "an".
people = { $contact ->
    [none] die Betreiber von { $service }
   *[other] die Betreiber von { $service } ({ $contact })
}

## Parts of several mails

code-line = Ihr Code für { $service }: { $code }
spelled = Ziffer für Ziffer: { $spelled }.
account-why = Sie erhalten diese E-Mail, weil Sie ein Konto bei { $service } haben.
learned-nothing =
    Wenn Sie es nicht waren, brauchen Sie nichts zu tun: Die andere Person hat nichts erfahren und erhält keinen Zugang.

## The code of a registration

code-subject = Ihr Code für { $service }
code-enter =
    Geben Sie ihn innerhalb von { $ttl } ein, um Ihr Konto zu aktivieren. Danach können Sie einen neuen anfordern.
code-why =
    Sie erhalten diese E-Mail, weil sich jemand mit Ihrer Adresse bei { $service } registriert hat. Wenn Sie das nicht
    waren, brauchen Sie nichts zu tun: Ohne den Code entsteht kein Konto. Um die Registrierung zu löschen, öffnen Sie
    innerhalb eines Tages diesen Link und drücken Sie auf die Schaltfläche:
not-me-link = Das war ich nicht

## Somebody registered the address of an account

existing-account-subject = Sie haben bereits ein Konto bei { $service }
existing-account-what =
    Jemand, vielleicht Sie selbst, hat sich gerade mit Ihrer Adresse registriert. Sie haben bereits ein Konto; es wurde
    nicht verändert.
existing-account-if-you =
    Wenn Sie es waren, melden Sie sich mit dem Passwort an, das Sie für das Konto gewählt haben. Wenn Sie es vergessen
    haben, hilft eine neue Registrierung nicht: Fordern Sie einen Code an, um ein neues Passwort festzulegen, oder wenden
    Sie sich an { people }.
existing-account-if-not =
    { learned-nothing } Um die Registrierung zu löschen, öffnen Sie innerhalb eines Tages diesen Link und drücken Sie auf
    die Schaltfläche; Ihr Konto bleibt, wie es ist:

## The account was activated

activated-subject = Ihr Konto bei { $service } ist aktiv
activated-what =
    Ihr Konto bei { $service } wurde soeben mit einem Code aktiviert, der an diese Adresse geschickt wurde. Wenn Sie es
    waren, brauchen Sie nichts zu tun.
activated-if-not =
    Wenn Sie es nicht waren, kann jemand Ihre E-Mails lesen. Ändern Sie zuerst das Passwort Ihres Postfachs und wenden Sie
    sich dann an { people }, um das Konto löschen zu lassen.

## The people who run the service activated the account

activated-by-operator-subject = { activated-subject }
activated-by-operator-what =
    Die Betreiber von { $service } haben Ihr Konto aktiviert. Es gilt das Passwort, das Sie bei der Registrierung gewählt
    haben.
activated-by-operator-if-not = Wenn Sie sich nicht registriert haben, wenden Sie sich an { people }.

## The password was changed

password-changed-subject = Ihr Passwort für { $service } wurde geändert
password-changed-what =
    Das Passwort Ihres Kontos bei { $service } wurde soeben geändert. Wenn Sie es waren oder darum gebeten haben, brauchen
    Sie nichts zu tun.
password-changed-if-not =
    Andernfalls kannte möglicherweise jemand Ihr altes Passwort. Fordern Sie einen Code an, um ein neues festzulegen, oder
    wenden Sie sich an { people }. Ändern Sie das alte Passwort überall, wo Sie es sonst noch verwendet haben.

## The code for a new password

reset-code-subject = Ihr Code für ein neues Passwort bei { $service }
reset-code-line = Ihr Code für ein neues Passwort: { $code }
reset-code-enter =
    Geben Sie ihn innerhalb von { $ttl } zusammen mit Ihrem neuen Passwort ein. Danach können Sie einen neuen anfordern.
reset-code-if-not =
    Wenn Sie ihn nicht angefordert haben, brauchen Sie nichts zu tun: Ohne diesen Code kann niemand Ihr Passwort ändern.
    Geben Sie ihn an niemanden weiter.

## The password was set anew with a code

password-reset-subject = Ihr Passwort für { $service } wurde neu festgelegt
password-reset-what =
    Das Passwort Ihres Kontos bei { $service } wurde soeben mit einem Code neu festgelegt, der an diese Adresse geschickt
    wurde. Wenn Sie es waren, brauchen Sie nichts zu tun.
password-reset-if-not =
    Wenn Sie es nicht waren, kann jemand Ihre E-Mails lesen. Ändern Sie zuerst das Passwort Ihres Postfachs. Fordern Sie
    dann einen Code für ein neues Passwort bei { $service } an, oder wenden Sie sich an { people }.

## The code for another address

address-code-subject = Ihr Code von { $service } für diese Adresse
address-code-enter =
    Geben Sie ihn innerhalb von { $ttl } ein, um diese Adresse für Ihr Konto bei { $service } zu übernehmen. Danach können
    Sie einen neuen anfordern.
address-code-if-not =
    Wenn Sie es nicht waren, brauchen Sie nichts zu tun: Wahrscheinlich hat sich jemand bei einer Adresse vertippt. Ohne
    den Code ändert sich nichts.

## Somebody wants to move an account to the address of another one

address-taken-subject = Ihr Konto bei { $service } wurde nicht verändert
address-taken-what =
    Jemand, vielleicht Sie selbst, wollte diese Adresse für ein anderes Konto bei { $service } verwenden. Sie haben bereits
    ein Konto mit dieser Adresse; deshalb hat sich nichts geändert.
address-taken-if-you =
    Wenn Sie es waren, melden Sie sich mit dieser Adresse und ihrem Passwort an, oder wählen Sie für das andere Konto eine
    andere Adresse.

## The address is being changed: to the old one

address-change-subject = Die Adresse Ihres Kontos bei { $service } wird geändert
address-change-what =
    Jemand, vielleicht Sie selbst, will die Adresse Ihres Kontos bei { $service } ändern. Wenn Sie es waren, brauchen Sie
    nichts zu tun.
address-change-if-not =
    Wenn Sie es nicht waren, kennt jemand Ihr Passwort. Öffnen Sie innerhalb von { $lifetime } diesen Link: Er macht die
    Änderung rückgängig, und Sie müssen danach ein neues Passwort festlegen.
address-change-link = Änderung rückgängig machen

## The change of the address was taken back

address-restored-subject = Ihr Konto bei { $service } hat wieder diese Adresse
address-restored-what =
    Die Änderung der Adresse wurde rückgängig gemacht: Ihr Konto bei { $service } hat wieder diese Adresse. Das alte
    Passwort gilt nicht mehr, weil es vielleicht jemand anderes kennt.
address-restored-next =
    Legen Sie jetzt ein neues Passwort fest: Fordern Sie einen Code an wie bei einem vergessenen Passwort. Wählen Sie
    eines, das Sie nirgendwo sonst verwenden.
address-restored-help = Wenn das nicht gelingt, wenden Sie sich an { people }.
