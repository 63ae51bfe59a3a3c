# The problem types in German. See fr/problems.ftl.

malformed-request = Die Anfrage ist nicht lesbar
    .advice =
        Senden Sie genau einen Host-Header und einen vollständigen Body: JSON in UTF-8, ohne doppelte Namen von Feldern.
unauthenticated = Die Anmeldedaten fehlen oder sind falsch
    .advice =
        Senden Sie die E-Mail-Adresse und das Passwort mit HTTP-Basic-Authentifizierung, in UTF-8. Das Feld detail nennt,
        was fehlt. Wurde eine wartende Adresse noch einmal registriert, gilt nur das neueste Passwort. Hat der Inhaber der
        Adresse die Registrierung mit dem Link in seiner E-Mail gelöscht, registrieren Sie sich erneut.
account-disabled = Das Konto ist gesperrt
    .advice = Die Anmeldedaten sind richtig, aber ein Betreiber hat das Konto gesperrt. Wenden Sie sich an den Betreiber.
forbidden = Das dürfen nur Administratoren
    .advice =
        Die Anmeldedaten sind richtig, aber die Rolle ist nicht admin. Wenden Sie sich an einen Administrator oder den
        Betreiber: Der Befehl sixty users legt den ersten Administrator an.
registration-closed = Die Registrierung ist geschlossen
    .advice =
        Der Betreiber des Dienstes nimmt keine neuen Registrierungen an. Bitten Sie ihn um ein Konto. Eine wartende
        Registrierung lässt sich weiterhin aktivieren, und Konten funktionieren wie bisher.
user-not-found = Diesen Benutzer gibt es nicht
    .advice = Suchen Sie die ID des Benutzers mit GET /v1/users. Jede Registrierung erhält eine neue ID.
not-found = Hier ist nichts
    .advice =
        Vergleichen Sie den Pfad mit /openapi.json. Großbuchstaben, ein Schrägstrich am Ende und ein fehlendes /v1 machen
        einen Unterschied.
method-not-allowed = Dieser Pfad erlaubt die Methode nicht
    .advice = Verwenden Sie eine Methode, die der Antwort-Header Allow nennt.
email-taken = Die Adresse hat bereits ein Konto
    .advice = Verwenden Sie das Konto mit seinem Passwort. Es wurde nichts geändert, und es wird keine E-Mail verschickt.
already-active = Das Konto ist bereits aktiv
    .advice = Sie brauchen nichts zu tun: Ein aktives Konto braucht keinen Code.
not-active = Das Konto ist nicht aktiv
    .advice =
        Aktivieren Sie das Konto zuerst mit dem Code aus der E-Mail. Es wurde nichts geändert. Bei GET /v1/auth ist der
        Status 403.
last-admin = Es bliebe kein Administrator übrig
    .advice = Geben Sie zuerst einem anderen aktiven Konto die Rolle admin. Es wurde nichts geändert.
code-expired = Es gibt keinen gültigen Code
    .advice =
        Fordern Sie mit POST /v1/users/me/verification-code einen neuen Code an. Verwenden Sie ihn innerhalb einer Minute
        nach der E-Mail. Hat der Inhaber der Adresse die Registrierung mit dem Link in seiner E-Mail gelöscht, registrieren
        Sie sich erneut.
payload-too-large = Der Body ist zu groß
    .advice = Senden Sie nur die Felder, die zur Operation gehören. Sie passen in 16 KiB.
unsupported-media-type = Der Medientyp des Bodys wird nicht unterstützt
    .advice = Senden Sie Content-Type: application/json.
invalid-field = Ein Feld ist ungültig
    .advice = Das Feld errors nennt jedes ungültige Feld und was es enthalten muss.
incorrect-code = Der Code ist falsch
    .advice =
        Vergleichen Sie den Code mit der neuesten E-Mail. Das Feld attempts_remaining nennt die Zahl der verbleibenden
        Versuche. Nach dem letzten falschen Versuch ist der Code ungültig: Fordern Sie einen neuen an.
too-many-codes = Es wurde vor zu kurzer Zeit ein Code angefordert
    .advice =
        Suchen Sie die E-Mail mit dem Code, oder warten Sie retry_after Sekunden und fordern Sie dann einen neuen an. Die
        Wartezeit verdoppelt sich mit jedem Code. Nach einem Tag ohne Code beginnt sie von vorn.
too-many-requests = Zu viele Anfragen aus diesem Netz
    .advice =
        Warten Sie retry_after Sekunden. Der Dienst begrenzt für jedes Netz die Registrierungen, angeforderten Codes,
        Passwortänderungen, falschen Codes und falschen Anmeldedaten. Ein Netz ist eine IPv4-Adresse oder die ersten 64 Bit
        einer IPv6-Adresse. Es wurde nichts geändert.
internal = Der Dienst hat einen Fehler
    .advice =
        Die Anfrage hat den Fehler nicht verursacht. Nennen Sie dem Betreiber die X-Request-Id der Antwort.
unavailable = Der Dienst ist vorübergehend nicht verfügbar
    .advice = Senden Sie dieselbe Anfrage nach retry_after Sekunden noch einmal.
