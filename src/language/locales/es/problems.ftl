# The problem types in Spanish. See fr/problems.ftl.

malformed-request = No se puede leer la petición
    .advice = Envíe un solo encabezado Host y un cuerpo completo: JSON en UTF-8, sin nombres de miembros duplicados.
unauthenticated = Faltan las credenciales o son incorrectas
    .advice =
        Envíe la dirección de correo y la contraseña con autenticación HTTP Basic, en UTF-8. El miembro detail indica qué
        falta. Si una dirección pendiente se registró de nuevo, solo vale la última contraseña. Si el titular de la
        dirección ha eliminado el registro con el enlace de su mensaje, regístrese de nuevo.
account-disabled = La cuenta está desactivada
    .advice =
        Las credenciales son correctas, pero un operador ha desactivado la cuenta. Póngase en contacto con el operador.
forbidden = Solo pueden hacerlo los administradores
    .advice =
        Las credenciales son correctas, pero el rol del usuario no es admin. Diríjase a un administrador o al operador: la
        orden sixty users crea el primer administrador.
registration-closed = El registro está cerrado
    .advice =
        El operador del servicio no acepta registros nuevos. Pídale una cuenta. Un registro pendiente todavía se puede activar,
        y las cuentas funcionan como antes.
user-not-found = No existe ese usuario
    .advice = Busque el identificador del usuario con GET /v1/users. Cada registro recibe un identificador nuevo.
not-found = Aquí no hay nada
    .advice =
        Compare la ruta con /openapi.json. Importan las mayúsculas, una barra final y que falte /v1.
method-not-allowed = Esta ruta no admite el método
    .advice = Use un método que indique el encabezado de respuesta Allow.
email-taken = La dirección ya tiene una cuenta
    .advice = Use la cuenta con su contraseña. No ha cambiado nada y no se envía ningún mensaje.
already-active = La cuenta ya está activa
    .advice = No hay que hacer nada: una cuenta activa no necesita código.
not-active = La cuenta no está activa
    .advice =
        Active primero la cuenta con el código del mensaje. No ha cambiado nada. En GET /v1/auth el estado es 403.
last-admin = No quedaría ningún administrador
    .advice = Dé primero el rol admin a otra cuenta activa. No ha cambiado nada.
code-expired = No hay ningún código válido
    .advice =
        Solicite otro código con POST /v1/users/me/verification-code. Úselo en el minuto siguiente al mensaje. Si el titular
        de la dirección ha eliminado el registro con el enlace de su mensaje, regístrese de nuevo.
payload-too-large = El cuerpo es demasiado grande
    .advice = Envíe solo los miembros que declara la operación. Caben en 16 KiB.
unsupported-media-type = El tipo de medio del cuerpo no se admite
    .advice = Envíe Content-Type: application/json.
invalid-field = Un campo no es válido
    .advice = El miembro errors enumera cada campo no válido y lo que debe contener.
incorrect-code = El código es incorrecto
    .advice =
        Compare el código con el último mensaje. El miembro attempts_remaining indica cuántos intentos quedan. Tras el
        último intento fallido el código se destruye: solicite otro.
too-many-codes = Se solicitó un código hace demasiado poco
    .advice =
        Busque el mensaje con el código, o espere retry_after segundos y solicite otro. La espera se duplica con cada
        código. Vuelve a empezar después de un día sin códigos.
too-many-requests = Demasiadas peticiones desde esta red
    .advice =
        Espere retry_after segundos. El servicio limita por red los registros, las solicitudes de código, los cambios de
        contraseña, los códigos incorrectos y las credenciales incorrectas. Una red es una dirección IPv4, o los primeros
        64 bits de una dirección IPv6. No ha cambiado nada.
internal = El servicio ha fallado
    .advice =
        La petición no causó el error. Comunique al operador el X-Request-Id de la respuesta.
unavailable = El servicio no está disponible temporalmente
    .advice = Envíe la misma petición de nuevo después de retry_after segundos.
